//! Invalid unique keys: a key is a name.

use ork::task;

#[task(unique = 3)]
fn a_number() {}

#[task(unique)]
fn nothing() {}

#[task(unique = "one at a time")]
fn words() {}

#[task]
fn whole(number: u32) -> u32 {
    number
}

#[task(part, unique = "whole")]
fn whole_part() -> Vec<whole> {
    Vec::new()
}

fn main() {}
