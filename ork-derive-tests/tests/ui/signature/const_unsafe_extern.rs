//! Functions of another kind.

use ork::task;

#[task]
const fn constant() {}

#[task]
unsafe fn dangerous() {}

#[task]
extern "C" fn foreign() {}

fn main() {}
