//! Names that cannot be a queue or a routing key.

use ork::task;

#[task(name = "")]
fn empty() {}

#[task(name = "make thumbnail")]
fn space() {}

#[task(name = "größe")]
fn umlaut() {}

#[task(queue = "a/b")]
fn slash() {}

#[task(name = thumbnail)]
fn no_quotes() {}

fn main() {}
