//! Inputs and outputs with `impl Trait` in place of a named type.

#![allow(unused, non_camel_case_types)]

use ork::{Result, task};

#[task]
fn input(paths: impl Iterator<Item = u32>) {}

#[task]
fn output() -> impl Send {
    1
}

#[task]
fn inside() -> Result<Vec<impl Send>> {
    Ok(vec![1])
}

fn main() {}
