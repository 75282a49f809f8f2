//! A future that is not `Send`.

use ork::task;

use std::rc::Rc;

#[task]
async fn local(number: u32) -> u32 {
    let shared = Rc::new(number);
    std::future::ready(()).await;
    *shared
}

fn main() {}
