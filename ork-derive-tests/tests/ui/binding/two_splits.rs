//! Two splits of one task.

use ork::task;

#[task]
fn album() {}

#[task(part)]
fn album_part() -> Vec<album> {
    Vec::new()
}

#[task(part)]
fn album_part() -> Vec<album> {
    Vec::new()
}

fn main() {}
