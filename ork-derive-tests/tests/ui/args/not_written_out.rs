//! A value that is not a literal, so that only the compiler could evaluate it.

use ork::task;

const MANY: u32 = 3;

#[task(retries = MANY)]
fn constant() {}

#[task(timeout = concat!("1", "s"))]
fn computed() {}

fn main() {}
