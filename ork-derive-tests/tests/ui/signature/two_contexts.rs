//! A second context.

#![allow(unused, non_camel_case_types)]

use ork::{Context, task};

#[task]
fn double(first: Context, path: String, second: Context) {}

fn main() {}
