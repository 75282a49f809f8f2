//! A type that does not go to JSON.

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
