//! A split of a task that does not exist.

#![allow(unused, non_camel_case_types)]

use ork::task;

#[task(part)]
fn album_part(paths: Vec<String>) -> Vec<u32> {
    Vec::new()
}

fn main() {}
