//! An input that is there in some builds only.

use ork::task;

#[task]
fn sometimes(path: String, #[cfg(unix)] mode: u32) {}

fn main() {}
