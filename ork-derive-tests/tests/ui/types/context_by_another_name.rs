//! An alias of the context needs a mark.

use ork::task;

use ork::{Context as Job, State};

type Numbers = State<u32>;

#[task]
fn alias(context: Job) {
    drop(context);
}

#[task]
fn state(numbers: Numbers) {
    drop(numbers);
}

fn main() {}
