//! Attributes on parameters that contradict each other, have arguments or do not exist.

#![allow(unused, non_camel_case_types)]

use ork::task;

#[task]
fn both(#[context] #[state] value: u32) {}

#[task]
fn more(#[input(default)] value: u32) {}

#[task]
fn unknown(#[contxt] value: u32) {}

fn main() {}
