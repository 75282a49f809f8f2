//! The attribute on a struct.

use ork::task;

#[task]
struct Album {
    path: String,
}

fn main() {}
