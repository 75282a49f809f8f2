//! A pause between attempts where there is only one.

use ork::task;

#[task(backoff = "1s")]
fn once() {}

fn main() {}
