//! A timeout of zero.

use ork::task;

#[task(timeout = "0s")]
fn zero() {}

fn main() {}
