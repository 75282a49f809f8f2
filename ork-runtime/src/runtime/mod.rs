//! What runs the futures of a process, as a port: what else runs them decides which comes next, and when.

pub mod system;

use std::any::Any;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use tokio::sync::oneshot;

/// A future that is spawned.
pub type Spawned = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the futures and the blocking functions of a process.
///
/// Each is run to its end, or dropped when the process ends; nothing waits for it.
pub trait Runtime: Debug + Send + Sync {
    /// Runs a future beside the others.
    fn spawn(&self, future: Spawned);

    /// Runs a future on a thread of its own, so that it goes on while user code keeps every other thread busy.
    ///
    /// # Errors
    /// When no thread can be started.
    fn spawn_thread(&self, name: &str, future: Spawned) -> io::Result<()>;

    /// Calls a function on a thread that may block.
    fn spawn_blocking(&self, call: Box<dyn FnOnce() + Send>);
}

impl dyn Runtime {
    /// Calls a function, at once, on a thread that may block; the future waits for what it returns.
    ///
    /// # Errors
    /// The panic of the function, or words if the process ended before the call did.
    ///
    /// # Cancel safety
    /// The call goes on if the future is dropped, and what it returns is dropped.
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
    async fn a_blocking_call_answers_what_it_returned_or_its_panic() {
        let runtime: Arc<dyn Runtime> = Arc::new(system::TokioRuntime);
        assert_eq!(runtime.call_blocking(|| 7).await.unwrap(), 7);
        let panic = runtime.call_blocking(|| -> u8 { panic!("no number") }).await.unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"no number"));
    }

    /// Drops what it is to run, as a runtime does that ends.
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
    async fn a_call_that_a_runtime_dropped_is_answered() {
        let runtime: &dyn Runtime = &Ended;
        let ended = runtime.call_blocking(|| 7).await.unwrap_err();
        assert_eq!(ended.downcast_ref::<&str>(), Some(&"the runtime ended"));
    }
}
