//! The attribute on items that are not functions.

use ork::task;

#[task]
enum Size {
    Large,
}

#[task]
impl Size {}

#[task]
mod inner {}

#[task]
const WIDTH: u32 = 3;

#[task]
trait Draw {}

#[task]
type Number = u32;

fn main() {}
