//! A word that is no option: the nearest one is named, and all there are.

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
