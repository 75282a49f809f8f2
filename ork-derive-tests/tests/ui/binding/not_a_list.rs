//! A split that does not return an iterator.

use ork::task;

#[task]
fn album() {}

#[task(part)]
async fn album_part() -> album {
    album {}
}

#[task]
fn film() {}

#[task(part)]
fn film_part() {}

fn main() {}
