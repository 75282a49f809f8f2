//! Numbers that are invalid, too large or too small.

use ork::task;

#[task(retries = "3")]
fn text() {}

#[task(retries = -1)]
fn negative() {}

#[task(retries = 1.5)]
fn fraction() {}

#[task(retries = 5_000_000_000)]
fn large() {}

#[task(retries = 3u8)]
fn suffix() {}

fn main() {}
