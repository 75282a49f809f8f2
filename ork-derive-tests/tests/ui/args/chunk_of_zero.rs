//! A page holds at least one part.

use ork::task;

#[task]
fn zero() {}

#[task(part, chunk = 0)]
fn zero_part() -> Vec<zero> {
    Vec::new()
}

fn main() {}
