//! The fields of a message are checked like those of any struct.

use ork::task;

#[task]
fn album(path: String, width: u32) {
    drop((path, width));
}

fn caller() {
    drop(album { path: 1, width: 640 });
    drop(album { path: String::new() });
    drop(album { path: String::new(), width: 1, height: 1 });
}

fn main() {}
