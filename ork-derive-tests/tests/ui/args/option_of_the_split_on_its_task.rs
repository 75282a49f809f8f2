//! Options of the parts, given to the task or the join.

use ork::{Parts, task};

#[task(chunk = 100, on_error = "stop")]
fn album() -> u32 {
    1
}

#[task(join, tolerate = "5%")]
fn album_join(parts: Parts<u32>) {
    drop(parts);
}

fn main() {}
