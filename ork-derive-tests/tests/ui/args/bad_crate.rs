//! A path of ork's crate that is none.

use ork::task;

#[task(crate = "not a path")]
fn spaces() {}

#[task(crate = ork)]
fn no_quotes() {}

fn main() {}
