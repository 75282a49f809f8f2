//! A user's type named `Result`.

use ork::task;

#[derive(serde::Serialize)]
struct Result {
    value: u32,
}

#[task]
fn own() -> Result {
    Result { value: 1 }
}

fn main() {}
