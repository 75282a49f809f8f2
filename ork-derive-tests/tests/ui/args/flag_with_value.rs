//! An option that takes no value.

use ork::task;

#[task(part = true)]
fn flag_part() {}

#[task(join = "x")]
fn flag_join() {}

fn main() {}
