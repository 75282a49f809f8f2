//! Functions with qualifiers that a task cannot have.

use ork::task;

#[task]
const fn constant() {}

#[task]
unsafe fn dangerous() {}

#[task]
extern "C" fn foreign() {}

fn main() {}
