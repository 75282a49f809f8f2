//! Unknown options: the error suggests the nearest one and lists all of them.

use ork::task;

#[task(retires = 3)]
fn near(path: String) {
    drop(path);
}

#[task(colour = "red")]
fn far(path: String) {
    drop(path);
}

fn main() {}
