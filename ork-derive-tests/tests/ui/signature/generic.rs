//! Generic functions: in a schema, each input has one type.

#![allow(unused, non_camel_case_types)]

use ork::task;

#[task]
fn types<T>(value: T) {}

#[task]
fn lifetimes<'a>(value: u32) {}

#[task]
fn constants<const N: usize>(value: [u8; N]) {}

#[task]
fn only_where(value: u32)
where
    u32: Copy,
{
}

fn main() {}
