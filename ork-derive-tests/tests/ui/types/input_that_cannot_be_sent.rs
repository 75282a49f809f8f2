//! An input type that can be read, but not written into a message.

use ork::task;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Size {
    width: u32,
}

#[task]
fn album(path: String, size: Size) -> u32 {
    drop(path);
    size.width
}

fn main() {}
