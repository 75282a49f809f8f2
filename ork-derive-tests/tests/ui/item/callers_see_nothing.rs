//! A mistake in a task is the only error: its callers, its split and its join cause no further errors.

use ork::{Parts, task};

#[task(retires = 3)]
fn album(path: String) -> u32 {
    drop(path);
    1
}

#[task(part)]
fn album_part(#[context] #[state] paths: Vec<String>) -> Vec<album> {
    paths.into_iter().map(|path| album { path }).collect()
}

#[task(join)]
fn album_join(parts: Parts<u32>) {
    drop(parts);
}

fn caller() -> u32 {
    drop(album_part(Vec::new()));
    drop(album { path: String::new() });
    album(String::new())
}

fn main() {}
