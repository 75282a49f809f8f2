//! A user's type named `Parts`.

use ork::task;

struct Parts<T>(T);

#[task]
fn album() -> u32 {
    1
}

#[task(join)]
fn album_join(parts: Parts<u32>) -> u32 {
    parts.0
}

fn main() {}
