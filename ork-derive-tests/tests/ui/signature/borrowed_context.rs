//! A context passed by reference.

#![allow(unused, non_camel_case_types)]

use ork::{Context, task};

#[task]
fn reference(context: &Context) {}

fn main() {}
