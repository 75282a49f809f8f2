//! Aliases of the context and the state, which need an attribute on the parameter.

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
