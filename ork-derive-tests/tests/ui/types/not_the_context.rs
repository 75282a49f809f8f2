//! A type of one's own that is called `Context`.

use ork::task;

#[derive(serde::Deserialize)]
struct Context {
    value: u32,
}

#[task]
fn own(context: Context) {
    drop(context);
}

fn main() {}
