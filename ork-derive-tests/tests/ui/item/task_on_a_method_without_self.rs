//! A function inside an `impl`, next to which no struct can be defined.

use ork::task;

struct Album;

impl Album {
    #[task]
    fn open(path: String) {
        drop(path);
    }
}

fn main() {}
