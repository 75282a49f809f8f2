//! One function cannot be both.

use ork::task;

#[task]
fn album() {}

#[task(part, join)]
fn album_part() -> Vec<album> {
    Vec::new()
}

fn main() {}
