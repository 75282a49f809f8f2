//! Options without their required value.

use ork::task;

#[task(retries, timeout, name, tolerate)]
fn none() {}

fn main() {}
