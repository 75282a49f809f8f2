//! Every option of a task, and the attributes that are copied from the function to the generated items.

/// Does it.
#[task(
    name = "a.b-c",
    queue = "slow",
    retries = 3,
    backoff = "500ms",
    timeout = "1h 30m",
    priority = 9,
    concurrency(4, key = "path"),
    crate = "other"
)]
#[cfg(feature = "slow")]
#[deprecated]
pub fn everything(
    /// Which.
    path: String,
) {
    work(path);
}
