//! A join of a task that does not exist.

#![allow(unused, non_camel_case_types)]

use ork::{Parts, task};

#[task(join)]
fn album_join(parts: Parts<u32>) -> u32 {
    1
}

fn main() {}
