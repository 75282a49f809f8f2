//! The runtime for production: tokio and system threads.

use std::io;

use super::{Runtime, Spawned};

/// The current tokio runtime.
///
/// # Panics
/// Its methods panic outside of a tokio runtime, as [`tokio::spawn`] does.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioRuntime;

impl Runtime for TokioRuntime {
    #[expect(clippy::disallowed_methods, reason = "all else spawns through this")]
    fn spawn(&self, future: Spawned) {
        tokio::spawn(future);
    }

    fn spawn_thread(&self, name: &str, future: Spawned) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || runtime.block_on(future)).map(drop)
    }

    fn spawn_blocking(&self, call: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(call);
    }
}
