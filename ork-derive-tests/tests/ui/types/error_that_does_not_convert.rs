//! An error type that does not convert into `ork::Error`.

use ork::task;

struct Odd;

#[task]
fn odd() -> Result<u32, Odd> {
    Err(Odd)
}

fn main() {}
