//! With mistakes: the function is whole, its message is there for those who send it, and every mistake is reported.

#[task(retires = 3)]
fn thumbnail(path: &str, width: u32) -> u32 {
    width
}
