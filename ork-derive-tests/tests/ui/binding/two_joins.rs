//! Two joins of one task, in different modules.

use ork::{Parts, task};

#[task]
fn album() -> u32 {
    1
}

#[task(join)]
fn album_join(parts: Parts<u32>) -> u32 {
    drop(parts);
    1
}

mod other {
    use super::{album, task};

    #[task(join)]
    fn album_join(parts: ork::Parts<u32>) -> u32 {
        drop(parts);
        1
    }
}

fn main() {}
