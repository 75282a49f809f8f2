//! A user's type named `State`, and a parameter with `#[state]` that is not a state.

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
