//! An `input`, which is the whole body, together with other inputs.

#![allow(unused, non_camel_case_types)]

use ork::task;

#[task]
fn mixed(input: String, width: u32) {}

fn main() {}
