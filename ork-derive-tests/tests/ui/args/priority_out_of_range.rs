//! A priority outside of 0 to 9.

use ork::task;

#[task(priority = 10)]
fn high() {}

fn main() {}
