//! A function inside an `impl`, which a struct cannot stand beside.

use ork::task;

struct Album;

impl Album {
    #[task]
    fn open(path: String) {
        drop(path);
    }
}

fn main() {}
