//! An input that exists only in some builds.

#![allow(unused, non_camel_case_types)]

use ork::task;

#[task]
fn sometimes(path: String, #[cfg(unix)] mode: u32) {}

fn main() {}
