//! Options about parts on a task whose split has its own options, and on a join.

use ork::{Parts, task};

#[task(chunk = 100, on_error = "stop")]
fn album() -> u32 {
    1
}

#[task(part)]
fn album_part() -> Vec<album> {
    vec![album {}]
}

#[task(join, tolerate = "5%")]
fn album_join(parts: Parts<u32>) {
    drop(parts);
}

// This task splits itself.
#[task(chunk = 100, on_error = "stop", tolerate = 2)]
async fn book(context: ork::Context) -> ork::Result<()> {
    context.split(2).await
}

fn main() {}
