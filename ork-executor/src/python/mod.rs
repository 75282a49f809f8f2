//! The pool of Python interpreters: they are started on demand, kept idle for a while, and limited in number.

mod frames;
mod interpreter;
mod sdk;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::interpreter::{Interpreter, Request, Response};
use self::sdk::Sdk;
use super::Shared;
use super::escalation::{FirstSteps, StopStep};
use super::workflow_path::{WorkflowFile, blocking};
use ork_core::clock::Timestamp;
use ork_ports::executor::{Call, CallObserver, Code, ExecutorError, Instance, Signature};

/// The number of signatures that are cached. When there are more, the cache is cleared.
const MOST_SIGNATURES: usize = 10_000;

/// An interpreter reads messages while it runs a call, so it can be notified before any signal is sent.
const FIRST_STEPS: FirstSteps = FirstSteps { on_cancel: StopStep::Notify, without_grace: StopStep::Interrupt };

/// The purpose of an interpreter. An idle one is reused only for an equal key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    workflow_file: WorkflowFile,
    env: BTreeMap<String, String>,
    /// A hash of the file's content.
    version: Uuid,
}

/// All interpreters of one executor.
pub(super) struct Pools {
    shared: Arc<Shared>,
    sdk: Arc<Sdk>,
    /// Each busy interpreter holds a permit. So there are at most as many idle ones as there are permits left.
    busy: Semaphore,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The idle interpreters, the longest idle first.
    idle: Vec<Idle>,
    /// The number of interpreters that run a call, or are about to.
    busy: usize,
    /// Whether a Tokio task is running that ends interpreters which have been idle for too long.
    watched: bool,
    signatures: HashMap<Key, Arc<Signature>>,
}

struct Idle {
    key: Key,
    interpreter: Interpreter,
    since: Timestamp,
}

impl Pools {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let most = shared.settings.interpreters.clamp(1, Semaphore::MAX_PERMITS);
        let sdk = Arc::new(Sdk::new(shared.settings.scratch.clone(), Arc::clone(&shared.guard)));
        Self { shared, sdk, busy: Semaphore::new(most), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Returns the number of interpreters that are alive.
    pub(super) fn alive(&self) -> usize {
        let state = self.state();
        state.idle.len() + state.busy
    }

    /// Calls the task in a Python file.
    pub(super) async fn run(
        &self,
        call: &Call,
        file: &str,
        listener: Arc<dyn CallObserver>,
        abandoned: CancellationToken,
    ) -> Result<Bytes, ExecutorError> {
        let key = self.key(&call.code, file).await?;
        let request = |shared: &Shared| Request::Call {
            info: call_info(&call.instance, call.timeout.map(|timeout| shared.clock.now() + timeout)),
            input: call.input.clone(),
            form: call.form,
            most: shared.settings.most_output,
        };
        self.execute(&call.code, key, Some(call), abandoned, Some(listener), request).await
    }

    /// Reads the types of the task in a Python file. The result is cached for each version of the file.
    pub(super) async fn describe(
        &self,
        code: &Code,
        file: &str,
        abandoned: CancellationToken,
    ) -> Result<Arc<Signature>, ExecutorError> {
        let key = self.key(code, file).await?;
        if let Some(signature) = self.state().signatures.get(&key) {
            return Ok(Arc::clone(signature));
        }
        let body = self.execute(code, key.clone(), None, abandoned, None, |_| Request::Describe).await?;
        let signature = serde_json::from_slice(&body)
            .map_err(|error| ExecutorError::Unavailable(format!("the types of `{file}` cannot be read: {error}")))?;
        let signature = Arc::new(signature);
        let mut state = self.state();
        if state.signatures.len() >= MOST_SIGNATURES {
            state.signatures.clear();
        }
        state.signatures.insert(key, Arc::clone(&signature));
        drop(state);
        Ok(signature)
    }

    async fn key(&self, code: &Code, file: &str) -> Result<Key, ExecutorError> {
        let (folder, file, env) = (code.folder.clone(), file.to_owned(), code.env.clone());
        blocking(move || {
            let workflow_file = WorkflowFile::find(&folder, &file)?;
            let content = std::fs::read(workflow_file.path())
                .map_err(|error| ExecutorError::Unavailable(format!("`{file}` cannot be read: {error}")))?;
            Ok(Key { workflow_file, env, version: Uuid::new_v5(&Uuid::NAMESPACE_URL, &content) })
        })
        .await
    }

    /// Sends a request to an interpreter as soon as the limit allows it.
    async fn execute(
        &self,
        code: &Code,
        key: Key,
        call: Option<&Call>,
        abandoned: CancellationToken,
        listener: Option<Arc<dyn CallObserver>>,
        request: impl FnOnce(&Shared) -> Request,
    ) -> Result<Bytes, ExecutorError> {
        // The time limit of a call does not include the wait for other calls.
        let mut waiting = self.shared.waiting(FIRST_STEPS, call, abandoned.clone());
        let Ok(permit) = waiting.unless_stopped(self.busy.acquire()).await? else {
            return Err(ExecutorError::Interrupted);
        };
        let escalation = self.shared.escalation(FIRST_STEPS, call, abandoned);
        let busy = Busy::new(&self.state);
        let mut interpreter = self.get(code, &key).await?;
        let Response { result, reusable } =
            interpreter.execute(&self.shared, request(&self.shared), listener, escalation).await;
        let unusable = if reusable { self.keep(key, interpreter) } else { Some(interpreter) };
        if let Some(interpreter) = unusable {
            interpreter.kill(&self.shared).await;
        }
        drop(busy);
        drop(permit);
        result
    }

    /// Returns an idle interpreter for this key, or starts one. If that exceeds the limit, the interpreter that has
    /// been idle the longest is ended first.
    async fn get(&self, code: &Code, key: &Key) -> Result<Interpreter, ExecutorError> {
        let (found, old) = {
            let mut state = self.state();
            let mut old = state.take_outdated(key);
            let mut found = None;
            while let Some(at) = state.idle.iter().rposition(|idle| idle.key == *key) {
                let mut idle = state.idle.remove(at).interpreter;
                if idle.is_alive() {
                    found = Some(idle);
                    break;
                }
                old.push(idle);
            }
            if found.is_none() && state.idle.len() + state.busy > self.shared.settings.interpreters.max(1) {
                old.push(state.idle.remove(0).interpreter);
            }
            (found, old)
        };
        for interpreter in old {
            interpreter.end(&self.shared).await;
        }
        match found {
            Some(interpreter) => Ok(interpreter),
            None => self.start(code, &key.workflow_file).await,
        }
    }

    async fn start(&self, code: &Code, workflow_file: &WorkflowFile) -> Result<Interpreter, ExecutorError> {
        let sdk = Arc::clone(&self.sdk);
        let sdk = blocking(move || sdk.folder()).await?;
        let python = &self.shared.settings.python;
        let mut command: Command = self.shared.command(python, &workflow_file.folder, code);
        command.arg(sdk).arg(&workflow_file.folder).arg(&workflow_file.file);
        let file = workflow_file.file.display().to_string();
        Interpreter::start(&self.shared, command, &file).map_err(|error| not_started(python, &error))
    }

    /// Keeps an interpreter for later calls. Returns it to the caller if the executor is shutting down.
    fn keep(&self, key: Key, interpreter: Interpreter) -> Option<Interpreter> {
        let since = self.shared.clock.now();
        let mut state = self.state();
        // Checked under the lock: `clear` finds every interpreter that was kept before the executor was stopped.
        if self.shared.stop.is_cancelled() {
            return Some(interpreter);
        }
        state.idle.push(Idle { key, interpreter, since });
        if !std::mem::replace(&mut state.watched, true) {
            let (shared, state) = (Arc::clone(&self.shared), Arc::clone(&self.state));
            self.shared.tasks.spawn(watch(shared, state));
        }
        None
    }

    /// Ends every idle interpreter.
    pub(super) async fn clear(&self) {
        let idle = std::mem::take(&mut self.state().idle);
        let ends = idle.into_iter().map(|idle| idle.interpreter.end(&self.shared));
        futures_util::future::join_all(ends).await;
    }

    /// Kills every idle interpreter, without waiting for its end.
    pub(super) fn abandon(&self) {
        self.state().idle.clear();
    }
}

impl State {
    /// Removes and returns the idle interpreters that have loaded another version of the file.
    fn take_outdated(&mut self, key: &Key) -> Vec<Interpreter> {
        let is_old = |idle: &mut Idle| idle.key.workflow_file == key.workflow_file && idle.key.version != key.version;
        self.idle.extract_if(.., is_old).map(|idle| idle.interpreter).collect()
    }
}

/// Counts an interpreter as busy until it is dropped.
struct Busy<'a>(&'a Mutex<State>);

impl<'a> Busy<'a> {
    fn new(state: &'a Mutex<State>) -> Self {
        lock(state).busy += 1;
        Self(state)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(self.0).busy -= 1;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends interpreters that have been idle for too long. Returns when none is idle any more.
async fn watch(shared: Arc<Shared>, state: Arc<Mutex<State>>) {
    loop {
        let due = {
            let mut state = lock(&state);
            let Some(first) = state.idle.first() else {
                state.watched = false;
                return;
            };
            first.since + shared.settings.idle
        };
        tokio::select! {
            () = shared.clock.pause_until(due) => {}
            () = shared.stop.cancelled() => return,
        }
        let now = shared.clock.now();
        let expired: Vec<_> = {
            let mut state = lock(&state);
            state.idle.extract_if(.., |idle| idle.since + shared.settings.idle <= now).collect()
        };
        for idle in expired {
            idle.interpreter.end(&shared).await;
        }
    }
}

fn call_info(instance: &Instance, deadline: Option<Timestamp>) -> serde_json::Value {
    json!({
        "job": instance.job,
        "root": instance.root,
        "task": instance.task,
        "workflow": instance.workflow,
        "attempt": instance.attempt,
        "index": instance.index,
        "count": instance.count,
        "key": instance.key,
        "deadline": deadline,
    })
}

fn not_started(python: &Path, error: &std::io::Error) -> ExecutorError {
    let why = match error.kind() {
        ErrorKind::NotFound => "not found".to_owned(),
        ErrorKind::PermissionDenied => "not executable".to_owned(),
        _ => error.to_string(),
    };
    let python = python.display();
    ExecutorError::Unavailable(format!(
        "cannot start Python as `{python}`: {why}; install Python 3.9 or newer, or set ORK_PYTHON to its path"
    ))
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").field("alive", &self.alive()).finish_non_exhaustive()
    }
}
