//! A context by reference.

use ork::{Context, task};

#[task]
fn reference(context: &Context) {}

fn main() {}
