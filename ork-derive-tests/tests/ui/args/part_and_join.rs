//! A function that is both a split and a join.

use ork::task;

#[task]
fn album() {}

#[task(part, join)]
fn album_part() -> Vec<album> {
    Vec::new()
}

fn main() {}
