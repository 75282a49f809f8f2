//! A body with a syntax error: only that error is reported.

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
