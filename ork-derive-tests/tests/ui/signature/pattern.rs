//! Parameters that are not plain names.

#![allow(unused, non_camel_case_types)]

use ork::task;

struct Size {
    width: u32,
}

#[task]
fn tuple((a, b): (u32, u32)) {}

#[task]
fn fields(Size { width }: Size) {}

#[task]
fn nameless(_: u32) {}

#[task]
fn by_reference(ref name: String) {}

fn main() {}
