//! An invalid path of ork's crate.

use ork::task;

#[task(crate = "not a path")]
fn spaces() {}

#[task(crate = ork)]
fn no_quotes() {}

fn main() {}
