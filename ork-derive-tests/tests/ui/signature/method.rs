//! Methods: there is no value on which they could be called.

#![allow(unused, non_camel_case_types)]

use ork::task;

struct Album;

impl Album {
    #[task]
    fn by_reference(&self, path: String) {}

    #[task]
    fn by_value(self) {}
}

fn main() {}
