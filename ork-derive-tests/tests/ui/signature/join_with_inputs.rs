//! A join with inputs: it gets only the outcomes of the parts.

#![allow(unused, non_camel_case_types)]

use ork::{Parts, task};

#[task]
fn album(path: String) -> u32 {
    1
}

#[task(join)]
fn album_join(parts: Parts<u32>, path: String) {}

fn main() {}
