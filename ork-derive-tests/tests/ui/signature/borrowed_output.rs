//! What a task returns is kept, so it owns everything.

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
