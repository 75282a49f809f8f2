//! `input` is the whole body, so there is room for no other.

#![allow(unused, non_camel_case_types)]

use ork::task;

#[task]
fn mixed(input: String, width: u32) {}

fn main() {}
