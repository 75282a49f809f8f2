//! Invalid durations.

use ork::task;

#[task(timeout = 30)]
fn number() {}

#[task(timeout = "30")]
fn no_unit() {}

#[task(timeout = "30 seconds")]
fn long_unit() {}

#[task(timeout = "1.5s")]
fn fraction() {}

#[task(timeout = "s")]
fn no_number() {}

#[task(timeout = "")]
fn empty() {}

#[task(timeout = "99999999999999999999s")]
fn too_long() {}

fn main() {}
