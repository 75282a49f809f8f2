//! Aliases of `Result` that the macro cannot recognize: their errors would become outputs.

use ork::task;

type Answer<T> = std::result::Result<T, String>;

#[task]
fn hidden() -> Answer<u32> {
    Ok(1)
}

#[task]
fn album() {}

#[task(part)]
fn album_part() -> Answer<album> {
    Ok(album {})
}

fn main() {}
