//! `Parts` in a function that is not a join.

#![allow(unused, non_camel_case_types)]

use ork::{Parts, task};

#[task]
fn album(parts: Parts<u32>) -> u32 {
    1
}

#[task(part)]
fn album_part(parts: Parts<u32>) -> Vec<album> {
    Vec::new()
}

fn main() {}
