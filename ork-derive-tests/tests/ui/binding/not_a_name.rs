//! Splits whose names without the suffix are not valid task names.

use ork::task;

#[task(part)]
fn self_part() -> Vec<u32> {
    Vec::new()
}

#[task(part)]
fn __part() -> Vec<u32> {
    Vec::new()
}

fn main() {}
