//! A split without the option `part`, which makes it a separate task.

use ork::task;

#[task]
fn album(path: String) {
    drop(path);
}

#[task]
fn album_part(paths: Vec<String>) -> Vec<album> {
    paths.into_iter().map(|path| album { path }).collect()
}

mod lazily {
    use super::{album, task};

    #[task]
    fn album_part(paths: Vec<String>) -> impl Iterator<Item = album> {
        paths.into_iter().map(|path| album { path })
    }
}

fn main() {}
