//! A user's type named `Context`.

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
