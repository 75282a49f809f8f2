//! An error that is no error.

use ork::task;

struct Odd;

#[task]
fn odd() -> Result<u32, Odd> {
    Err(Odd)
}

fn main() {}
