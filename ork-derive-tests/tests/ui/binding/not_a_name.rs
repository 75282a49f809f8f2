//! Splits whose names leave none for the task.

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
