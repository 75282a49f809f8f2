//! A second context.

use ork::{Context, task};

#[task]
fn double(first: Context, path: String, second: Context) {}

fn main() {}
