//! Three mistakes in the attribute and three in the signature, reported together.

#![allow(unused, non_camel_case_types)]

use ork::task;

#[task(retires = 3, timeout = "soon", priority = 12)]
fn all(name: &str, (a, b): (u32, u32), sizes: impl Send) {}

fn main() {}
