//! A function whose name contains letters that a queue's name may not have.

use ork::task;

#[task]
fn größe() {}

fn main() {}
