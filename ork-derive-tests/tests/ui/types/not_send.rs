//! A future that cannot move between threads.

use ork::task;

use std::rc::Rc;

#[task]
async fn local(number: u32) -> u32 {
    let shared = Rc::new(number);
    std::future::ready(()).await;
    *shared
}

fn main() {}
