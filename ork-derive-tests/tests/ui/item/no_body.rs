//! A function without a body, in a trait.

use ork::task;

trait Draw {
    #[task]
    fn draw();
}

fn main() {}
