//! An unknown policy.

use ork::task;

#[task]
fn album() {}

#[task(part, on_error = "ignore")]
fn album_part() -> Vec<album> {
    Vec::new()
}

fn main() {}
