//! The async runtime of a process as a port. An implementation decides which future runs next, and when.

use std::any::Any;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use tokio::sync::oneshot;

/// A future to be spawned.
pub type Spawned = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the futures and the blocking functions of a process.
///
/// Each of them runs until it completes or the process ends. The process does not wait for them.
pub trait Runtime: Debug + Send + Sync {
    /// Spawns a future.
    fn spawn(&self, future: Spawned);

    /// Runs a future on its own thread, so that it makes progress even while user code blocks all other threads.
    ///
    /// # Errors
    /// If no thread can be started.
    fn spawn_thread(&self, name: &str, future: Spawned) -> io::Result<()>;

    /// Calls a function on a thread that may block.
    fn spawn_blocking(&self, call: Box<dyn FnOnce() + Send>);
}

impl dyn Runtime {
    /// Calls a function immediately on a thread that may block. The future returns the output of the function.
    ///
    /// # Errors
    /// The panic of the function, or a message if the process ended before the call did.
    ///
    /// # Cancel safety
    /// If the future is dropped, the call continues and its output is dropped.
    pub fn call_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        call: F,
    ) -> impl Future<Output = Result<T, Box<dyn Any + Send>>> + Send + use<T, F> {
        let (answer, answered) = oneshot::channel();
        self.spawn_blocking(Box::new(move || {
            let _unheard = answer.send(catch_unwind(AssertUnwindSafe(call)));
        }));
        async { answered.await.unwrap_or_else(|_ended| Err(Box::new("the runtime ended"))) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn blocking_call_returns_output_or_panic() {
        let runtime: Arc<dyn Runtime> = Arc::new(system::TokioRuntime);
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
