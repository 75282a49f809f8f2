//! A body with an error of its own: only that error is shown.

use ork::task;

#[task]
fn half(path: String) -> u32 {
    let width = ;
    path
}

#[task]
fn whole(path: String) -> u32 {
    path
}

fn main() {}
