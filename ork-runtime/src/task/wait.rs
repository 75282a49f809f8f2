//! Blocking waits for the next part, for iterators that are not async. They work on any kind of thread, without
//! panics and deadlocks.

use std::future::Future;
use std::panic::resume_unwind;
use std::thread::ThreadId;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use super::error::{Error, Result};

tokio::task_local! {
    /// Set while the engine polls a join as a task of a multi-threaded runtime.
    static JOINS: ();
}

/// The runtime that a future needs, and the thread on which it was created.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    runtime: Option<Handle>,
    thread: ThreadId,
}

impl Origin {
    /// Returns the runtime and the thread of the caller.
    pub(crate) fn here() -> Self {
        Self { runtime: Handle::try_current().ok(), thread: std::thread::current().id() }
    }

    /// Blocks the calling thread until the runtime has polled the future to its end.
    ///
    /// # Errors
    /// If nothing could poll the future: on the only thread of its runtime, without a runtime, or after the runtime
    /// has ended.
    pub(crate) fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let Some(runtime) = &self.runtime else {
            return Err(Error::permanent(
                "reading the outputs of parts requires a tokio runtime, and there is none in this thread",
            ));
        };
        let one_thread = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        if one_thread && std::thread::current().id() == self.thread {
            return Err(Error::permanent(
                "an iterator over parts would block the only thread of the tokio runtime, which must read them: use \
                 `next().await` or `collect().await`, or iterate in the join itself",
            ));
        }
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        // The spawned task ends before this call returns, so a shutdown never has to wait for it.
        runtime.spawn(async move { answer.send(future.await) });
        let wait =
            || answered.recv().map_err(|_dropped| Error::new("the tokio runtime ended while a part was being read"));
        // The other tasks of this thread move to another thread in the meantime.
        if JOINS.try_with(|()| ()).is_ok() { tokio::task::block_in_place(wait) } else { wait() }
    }
}

/// Polls the future of a join in a way that allows it to [wait](Origin::wait).
///
/// On a single-threaded tokio runtime, that thread is needed to read the parts, so the join is polled on another
/// thread.
///
/// # Cancel safety
/// If the future is dropped, the future of the join is dropped, too. On a single-threaded runtime this happens soon
/// after.
pub(crate) async fn join<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    // Without tokio, nothing can wait: `Origin::wait` returns an error.
    let Ok(runtime) = Handle::try_current() else { return future.await };
    if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
        return JOINS.scope((), future).await;
    }
    let span = tracing::Span::current();
    let (wanted, unwanted) = oneshot::channel::<()>();
    let polled = tokio::task::spawn_blocking(move || {
        span.in_scope(|| {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _dropped = unwanted => None,
                    output = future => Some(output),
                }
            })
        })
    });
    let output = polled.await;
    drop(wanted);
    match output.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(Some(output)) => output,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime is shutting down and drops this future as well.
        Ok(None) | Err(Err(_)) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::task::{LocalSet, spawn_blocking};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// A future that only its runtime can complete.
    async fn timer() -> u8 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        7
    }

    fn threads(number: usize) -> Runtime {
        Builder::new_multi_thread().worker_threads(number).enable_all().build().unwrap()
    }

    fn one_thread() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Runs a future on a runtime and returns its output. Panics if it hangs.
    fn spawned<T: Send + 'static>(runtime: &Runtime, future: impl Future<Output = T> + Send + 'static) -> T {
        runtime.block_on(async { tokio::time::timeout(LONG, runtime.spawn(future)).await.unwrap().unwrap() })
    }

    #[test]
    fn joins_wait_on_all_runtime_threads_at_once() {
        for runtime in [threads(1), threads(2), one_thread()] {
            let joins = (0..8).map(|_| {
                runtime.spawn(async {
                    let origin = Origin::here();
                    join(async move { origin.wait(timer()) }).await
                })
            });
            let joins: Vec<_> = joins.collect();
            for join in joins {
                let waited = runtime.block_on(async { tokio::time::timeout(LONG, join).await });
                assert_eq!(waited.unwrap().unwrap().unwrap(), 7);
            }
        }
    }

    #[test]
    fn threads_outside_the_runtime_can_wait() {
        for runtime in [threads(1), one_thread()] {
            let waited = spawned(&runtime, async {
                let origin = Origin::here();
                let other = origin.clone();
                let blocking = spawn_blocking(move || origin.wait(timer())).await.unwrap();
                let plain = spawn_blocking(|| std::thread::spawn(move || other.wait(timer())).join().unwrap());
                (blocking.unwrap(), plain.await.unwrap().unwrap())
            });
            assert_eq!(waited, (7, 7));
        }
    }

    #[test]
    fn local_set_can_wait_if_other_threads_can_read() {
        let runtime = threads(1);
        let waited = LocalSet::new().block_on(&runtime, async {
            tokio::task::spawn_local(async { Origin::here().wait(timer()) }).await.unwrap()
        });
        assert_eq!(waited.unwrap(), 7);
    }

    #[test]
    fn waiting_fails_where_it_would_deadlock() {
        let runtime = one_thread();
        let alone = spawned(&runtime, async { Origin::here().wait(timer()) }).unwrap_err();
        assert!(alone.to_string().contains("`collect().await`"), "{alone}");
        let local = LocalSet::new().block_on(&runtime, async { Origin::here().wait(timer()) }).unwrap_err();
        assert!(local.to_string().contains("`collect().await`"), "{local}");
        let nowhere = Origin::here().wait(timer()).unwrap_err();
        assert!(nowhere.to_string().contains("requires a tokio runtime"), "{nowhere}");
    }

    #[test]
    fn panic_and_drop_of_a_join_are_passed_on() {
        for runtime in [threads(1), one_thread()] {
            let panicked = runtime.block_on(runtime.spawn(async { join(async { panic!("no sum") }).await }));
            let panic = panicked.unwrap_err().into_panic();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"no sum"));
            let (held, dropped) = oneshot::channel::<()>();
            let joined = runtime.spawn(join(async move {
                std::future::pending::<()>().await;
                drop(held);
            }));
            joined.abort();
            runtime.block_on(async { tokio::time::timeout(LONG, dropped).await.unwrap().unwrap_err() });
        }
    }
}
