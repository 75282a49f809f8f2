//! Parts that are not `Send`.

use std::rc::Rc;

use ork::task;

#[task]
fn album(number: u32) -> u32 {
    number
}

#[task(part)]
fn album_part(numbers: Vec<u32>) -> impl Iterator<Item = album> {
    let shared = Rc::new(1);
    numbers.into_iter().map(move |number| album { number: number + *shared })
}

fn main() {}
