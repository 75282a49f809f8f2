//! A join over other parts than its task returns.

use ork::{Parts, task};

#[task]
fn album() -> ork::Result<String> {
    Ok(String::new())
}

#[task(join)]
fn album_join(parts: Parts<u32>) -> u64 {
    parts.len()
}

#[task]
fn film() -> ork::Result<String> {
    Ok(String::new())
}

#[task(join)]
async fn film_join(parts: Parts<ork::Result<String>>) -> u64 {
    parts.len()
}

fn main() {}
