//! A type that cannot be written as JSON.

use ork::{Result, task};

struct Opaque;

#[task]
fn plain() -> Opaque {
    Opaque
}

#[task]
async fn inside() -> Result<Opaque> {
    Ok(Opaque)
}

fn main() {}
