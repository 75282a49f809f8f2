//! Runs tasks in processes of this machine: Python files in interpreters that are reused between calls, and any other
//! program.
//!
//! Each call runs in a separate Tokio task, so the caller may drop its future at any time. The call is then interrupted
//! at once, and its whole process group is ended.

mod escalation;
mod group;
mod guard;
mod lines;
mod output_json;
mod process;
mod python;
mod workflow_path;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::escalation::{Escalation, FirstSteps, StopTriggers};
use self::guard::Guard;
use self::python::Pools;
use ork_core::clock::{Clock, Pause};
use ork_ports::executor::{Call, CallObserver, Code, Executor, ExecutorError, Program, Signature};

/// The time to wait for the remaining output of a process that has ended, and for an end that should be immediate.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// Settings of [`Local`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The interpreter for Python tasks: a path, or a name that is looked up.
    pub python: PathBuf,
    /// The largest number of interpreters that exist at once, busy and idle ones together. At least 1.
    pub interpreters: usize,
    /// The time for which an idle interpreter is kept before it is ended.
    pub idle: Duration,
    /// The time that a call that is being stopped may take before the next, harsher step is taken, up to SIGKILL. A
    /// cancelled call also has this time before anything interrupts it.
    pub grace: Duration,
    /// The largest output that is accepted, in bytes.
    pub most_output: usize,
    /// A folder in which a private subfolder is created for ork's Python package.
    pub scratch: PathBuf,
    /// Environment variables of this process that its child processes do not get, e.g. those that hold passwords.
    pub withheld: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            python: "python3".into(),
            interpreters: 8,
            idle: Duration::from_mins(1),
            grace: Duration::from_secs(5),
            most_output: 64 * 1024 * 1024,
            scratch: ".ork".into(),
            withheld: Vec::new(),
        }
    }
}

/// Runs calls in processes of this machine.
pub struct Local(Arc<Inner>);

/// State that all calls share.
struct Inner {
    shared: Arc<Shared>,
    pools: Pools,
}

/// State that every kind of process needs.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    stop: CancellationToken,
    guard: Arc<Guard>,
}

impl Local {
    /// Creates an executor. It starts no process before the first call.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let (tasks, stop, guard) = (TaskTracker::new(), CancellationToken::new(), Arc::default());
        let shared = Arc::new(Shared { settings, clock, tasks, stop, guard });
        Self(Arc::new(Inner { pools: Pools::new(Arc::clone(&shared)), shared }))
    }

    /// Returns the number of interpreters that are alive.
    pub fn interpreters(&self) -> usize {
        self.0.pools.alive()
    }

    /// Runs `work` in a separate Tokio task and waits for its result. The token that `work` gets fires when the caller
    /// no longer waits.
    async fn run_separately<T, F>(
        &self,
        work: impl FnOnce(Arc<Inner>, CancellationToken) -> F,
    ) -> Result<T, ExecutorError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ExecutorError>> + Send + 'static,
    {
        let shared = &self.0.shared;
        if shared.stop.is_cancelled() {
            return Err(ExecutorError::Interrupted);
        }
        let abandoned = CancellationToken::new();
        let guard = abandoned.clone().drop_guard();
        let (answer, result) = oneshot::channel();
        let work = work(Arc::clone(&self.0), abandoned);
        shared.tasks.spawn(async move {
            // This fails if the caller no longer waits.
            drop(answer.send(work.await));
        });
        let result = result.await;
        drop(guard);
        result.unwrap_or_else(|_| Err(ExecutorError::Unavailable("the call was lost: its runtime ended".into())))
    }
}

#[async_trait]
impl Executor for Local {
    async fn run(&self, call: Call, listener: Arc<dyn CallObserver>) -> Result<Bytes, ExecutorError> {
        self.run_separately(|inner, abandoned| async move {
            match call.code.program.clone() {
                Program::Python { file } => inner.pools.run(&call, &file, listener, abandoned).await,
                Program::Process { command } => process::run(&inner.shared, &call, &command, listener, abandoned).await,
            }
        })
        .await
    }

    async fn describe(&self, code: Code) -> Result<Arc<Signature>, ExecutorError> {
        match code.program.clone() {
            Program::Python { file } => {
                self.run_separately(
                    |inner, abandoned| async move { inner.pools.describe(&code, &file, abandoned).await },
                )
                .await
            }
            Program::Process { command } => {
                let function = command.into_iter().next().unwrap_or_default();
                let (input, output) = (json!({ "type": "object" }), json!({}));
                Ok(Arc::new(Signature { input, by_name: None, output, function, line: 1 }))
            }
        }
    }

    async fn shutdown(&self) {
        self.0.shared.stop.cancel();
        self.0.pools.clear().await;
        self.0.shared.tasks.close();
        self.0.shared.tasks.wait().await;
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.0.shared.stop.cancel();
        self.0.pools.abandon();
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("settings", &self.0.shared.settings).finish_non_exhaustive()
    }
}

impl Shared {
    /// Builds a command that runs in the folder of a workflow, with the environment variables of the call.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>, folder: &std::path::Path, code: &Code) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder);
        for name in &self.settings.withheld {
            command.env_remove(name);
        }
        command.envs(&code.env);
        command
    }

    /// Returns the escalation that stops a running call when its result is no longer wanted. The call's time limit
    /// counts from now.
    fn escalation(&self, first_steps: FirstSteps, call: Option<&Call>, abandoned: CancellationToken) -> Escalation {
        self.escalation_with(first_steps, call, call.and_then(|call| call.timeout), abandoned)
    }

    /// Like [`escalation`](Self::escalation), for a call that still waits to start: its time limit does not count yet.
    fn waiting(&self, first_steps: FirstSteps, call: Option<&Call>, abandoned: CancellationToken) -> Escalation {
        self.escalation_with(first_steps, call, None, abandoned)
    }

    fn escalation_with(
        &self,
        first_steps: FirstSteps,
        call: Option<&Call>,
        timeout: Option<Duration>,
        abandoned: CancellationToken,
    ) -> Escalation {
        let (stop, token) = (self.stop.clone(), call.map(|call| call.cancelled.clone()));
        let late = timeout.map(|timeout| (timeout, self.clock.pause(timeout)));
        let must_end = Box::pin(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => ExecutorError::Interrupted,
                () = abandoned.cancelled() => ExecutorError::Interrupted,
                timeout = elapsed(late) => ExecutorError::TimedOut(timeout),
            }
        });
        let cancelled = Box::pin(async move { either(token.as_ref()).await });
        Escalation::new(first_steps, StopTriggers { cancelled, must_end }, Arc::clone(&self.clock), self.settings.grace)
    }
}

async fn either(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn elapsed(late: Option<(Duration, Pause)>) -> Duration {
    match late {
        Some((timeout, pause)) => {
            pause.await;
            timeout
        }
        None => std::future::pending().await,
    }
}
