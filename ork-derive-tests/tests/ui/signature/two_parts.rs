//! A second `Parts`.

#![allow(unused, non_camel_case_types)]

use ork::{Parts, task};

#[task]
fn album() -> u32 {
    1
}

#[task(join)]
fn album_join(parts: Parts<u32>, again: Parts<u32>) {}

fn main() {}
