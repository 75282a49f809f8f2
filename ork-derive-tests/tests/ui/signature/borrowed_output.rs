//! Borrowed outputs: an output is stored, so it must be owned.

use ork::{Result, task};

#[task]
fn text() -> &'static str {
    "a"
}

#[task]
fn inside() -> Result<Vec<&'static str>> {
    Ok(vec!["a"])
}

#[task]
fn never() -> ! {
    panic!()
}

fn main() {}
