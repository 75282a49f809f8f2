//! An option that is given twice.

use ork::task;

#[task(retries = 1, timeout = "1s", retries = 2)]
fn twice() {}

#[task(part, part)]
fn twice_part() -> Vec<twice> {
    Vec::new()
}

fn main() {}
