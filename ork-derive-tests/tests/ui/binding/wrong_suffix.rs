//! Splits and joins whose names do not end with the suffix.

#![allow(unused, non_camel_case_types)]

use ork::{Parts, task};

#[task]
fn album() -> u32 {
    1
}

#[task(part)]
fn split_album() -> Vec<album> {
    Vec::new()
}

#[task(join)]
fn album_part(parts: Parts<u32>) {}

#[task(part)]
fn _part() -> Vec<album> {
    Vec::new()
}

fn main() {}
