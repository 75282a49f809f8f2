//! One task has one join, wherever the second one stands.

use ork::{Parts, task};

#[task]
fn album() -> u32 {
    1
}

#[task(join)]
fn album_join(parts: Parts<u32>) {
    drop(parts);
}

mod other {
    use super::{album, task};

    #[task(join)]
    fn album_join(parts: ork::Parts<u32>) {
        drop(parts);
    }
}

fn main() {}
