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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn blocking_call_returns_output_or_panic() {
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime);
        assert_eq!(runtime.call_blocking(|| 7).await.unwrap(), 7);
        let panic = runtime.call_blocking(|| -> u8 { panic!("no number") }).await.unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"no number"));
    }

    /// A runtime that drops what it is given, like one that is shutting down.
    #[derive(Debug)]
    struct Ended;

    impl Runtime for Ended {
        fn spawn(&self, _future: Spawned) {}

        fn spawn_thread(&self, _name: &str, _future: Spawned) -> io::Result<()> {
            Ok(())
        }

        fn spawn_blocking(&self, _call: Box<dyn FnOnce() + Send>) {}
    }

    #[tokio::test]
    async fn blocking_call_fails_if_the_runtime_drops_it() {
        let runtime: &dyn Runtime = &Ended;
        let ended = runtime.call_blocking(|| 7).await.unwrap_err();
        assert_eq!(ended.downcast_ref::<&str>(), Some(&"the runtime ended"));
    }
}
