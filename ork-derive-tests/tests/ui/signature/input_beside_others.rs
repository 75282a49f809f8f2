//! `input` is the whole body, so there is room for no other.

use ork::task;

#[task]
fn mixed(input: String, width: u32) {}

fn main() {}
