//! A type of one's own that is called `State`, and one without a value.

use ork::task;

struct State<T>(T);

#[task]
async fn own(state: State<u32>) {
    drop(state);
}

#[task]
async fn marked(#[state] state: u32) {
    drop(state);
}

fn main() {}
