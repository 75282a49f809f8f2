//! A pause between attempts although there is only one attempt.

use ork::task;

#[task(backoff = "1s")]
fn once() {}

fn main() {}
