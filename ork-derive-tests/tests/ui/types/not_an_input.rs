//! A type that does not come from JSON: one error, at the type.

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
