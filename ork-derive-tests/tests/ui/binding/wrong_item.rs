//! Splits that do not yield messages of their task.

use ork::{Result, task};

#[task]
fn album(path: String) {
    drop(path);
}

#[task]
fn film() {}

#[task(part)]
fn album_part(paths: Vec<String>) -> Vec<String> {
    paths
}

#[task(part)]
fn film_part(paths: Vec<String>) -> Result<impl Iterator<Item = album>> {
    Ok(paths.into_iter().map(|path| album { path }))
}

fn main() {}
