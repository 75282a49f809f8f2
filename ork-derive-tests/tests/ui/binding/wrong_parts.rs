//! A join over parts of another type than its task returns.

use ork::{Parts, task};

#[task]
fn album() -> ork::Result<String> {
    Ok(String::new())
}

#[task(join)]
fn album_join(parts: Parts<u32>) -> String {
    parts.len().to_string()
}

#[task]
fn film() -> ork::Result<String> {
    Ok(String::new())
}

#[task(join)]
async fn film_join(parts: Parts<ork::Result<String>>) -> String {
    parts.len().to_string()
}

fn main() {}
