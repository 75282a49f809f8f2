//! A join without a parameter for the parts.

#![allow(unused, non_camel_case_types)]

use ork::{Context, task};

#[task]
fn album() -> u32 {
    1
}

#[task(join)]
fn album_join(context: Context) {}

fn main() {}
