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
