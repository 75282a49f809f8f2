//! Options that do not have the form `word = value`.

use ork::task;

#[task(retries: 3, priority = 11)]
fn colon() {}

#[task(retries(3))]
fn parentheses() {}

#[task(retries = 3 timeout = "1s")]
fn no_comma() {}

#[task("thumbnail")]
fn literal() {}

#[task(retries = )]
fn nothing() {}

fn main() {}
