//! With mistakes: the function and its message are emitted for their callers, and every mistake is reported.

#[task(retires = 3)]
fn thumbnail(path: &str, width: u32) -> u32 {
    width
}
