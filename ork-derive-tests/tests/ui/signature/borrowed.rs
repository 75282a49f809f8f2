//! Borrowed inputs: each error suggests an owned type.

#![allow(unused, non_camel_case_types)]

use ork::task;

use std::borrow::Cow;
use std::path::Path;

#[task]
fn text(name: &str) {}

#[task]
fn path(path: &Path) {}

#[task]
fn slice(bytes: &[u8]) {}

#[task]
fn own(album: &Vec<std::string::String>) {}

#[task]
fn inside(name: Option<&str>) {}

#[task]
fn fixed(name: &'static str) {}

#[task]
fn lifetime(name: Cow<'_, str>) {}

fn main() {}
