//! A type that cannot be read from JSON: a single error, at the type.

use ork::task;

struct Opaque;

#[task]
fn own(value: Opaque) {
    drop(value);
}

#[task]
async fn whole(input: Opaque) {
    drop(input);
}

fn main() {}
