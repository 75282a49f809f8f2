//! Invalid tolerances.

use ork::task;

#[task]
fn album() {}

#[task(part, tolerate = "101%")]
fn album_part() -> Vec<album> {
    Vec::new()
}

#[task]
fn other() {}

#[task(part, tolerate = "a few")]
fn other_part() -> Vec<other> {
    Vec::new()
}

#[task]
fn third() {}

#[task(part, tolerate = -1)]
fn third_part() -> Vec<third> {
    Vec::new()
}

fn main() {}
