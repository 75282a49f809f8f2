//! Options about the whole task on its split or its join.

use ork::{Parts, task};

#[task]
fn album() -> u32 {
    1
}

#[task(part, queue = "slow", priority = 3, retries = 1)]
fn album_part() -> Vec<album> {
    Vec::new()
}

#[task(join, name = "sheet")]
fn album_join(parts: Parts<u32>) {
    drop(parts);
}

fn main() {}
