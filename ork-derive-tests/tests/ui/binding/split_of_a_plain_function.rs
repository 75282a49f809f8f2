//! A split of a function without `#[task]`, and a split of a struct.

#![allow(unused, non_camel_case_types)]

use ork::task;

fn album() {}

#[task(part)]
fn album_part(paths: Vec<String>) -> Vec<u32> {
    Vec::new()
}

struct film;

#[task(part)]
fn film_part() -> Vec<u32> {
    Vec::new()
}

fn main() {}
