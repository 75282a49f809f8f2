//! A page of zero parts: it must have at least one.

use ork::task;

#[task]
fn zero() {}

#[task(part, chunk = 0)]
fn zero_part() -> Vec<zero> {
    Vec::new()
}

fn main() {}
