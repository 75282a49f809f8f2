//! One Python interpreter: a process that has loaded one file and runs one call at a time.

use std::sync::Arc;

use bytes::Bytes;
use ork_workflow::Form;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use tracing::Level;

use super::super::escalation::{Escalation, StopStep};
use super::super::group::{Group, Pipes};
use super::super::lines::StderrReader;
use super::super::output_json;
use super::super::{END_DEADLINE, Shared};
use super::frames::{Frame, Frames, Received};
use ork_core::clock::Pause;
use ork_ports::executor::{CallObserver, Crash, Ended, ExecutorError, Raised};

/// The largest description of types, in bytes. It is accepted even if the limit for outputs is lower.
const MOST_DESCRIPTION: usize = 16 * 1024 * 1024;

/// The largest input, in bytes, that is copied behind its header, so that both are written at once.
const COPIED: usize = 64 * 1024;

/// A running interpreter.
#[derive(Debug)]
pub(super) struct Interpreter {
    group: Group,
    frames: Frames<ChildStdout>,
    to: mpsc::UnboundedSender<Bytes>,
    reader: Arc<StderrReader>,
    /// Standard error is read until this guard is dropped.
    _reading: DropGuard,
    file: String,
    calls: u64,
}

/// A request to an interpreter.
#[derive(Debug)]
pub(super) enum Request {
    /// Run the function.
    Call {
        /// The data about the job for the context of the call.
        info: Value,
        /// The input of the task.
        input: Bytes,
        /// The form in which the input is passed to a single parameter.
        form: Form,
        /// The largest output, in bytes.
        most: usize,
    },
    /// Describe the function's types.
    Describe,
}

/// The answer to a request, and whether the interpreter can take another one.
#[derive(Debug)]
pub(super) struct Response {
    pub result: Result<Bytes, ExecutorError>,
    pub reusable: bool,
}

impl Interpreter {
    /// Starts an interpreter. It begins to load the file at once.
    pub(super) fn start(shared: &Shared, command: Command, file: &str) -> std::io::Result<Self> {
        let (group, Pipes { stdin, stdout, stderr }) = Group::start(command, &shared.guard)?;
        let (reader, (to, messages)) = (StderrReader::new(), mpsc::unbounded_channel());
        let reading = reader.read_by(&shared.tasks, stderr);
        shared.tasks.spawn(write(stdin, messages));
        let frames = Frames::new(stdout, shared.settings.most_output.max(MOST_DESCRIPTION));
        Ok(Self { group, frames, to, reader, _reading: reading, file: file.to_owned(), calls: 0 })
    }

    /// Returns whether the process still runs, without waiting.
    pub(super) fn is_alive(&mut self) -> bool {
        !self.group.has_ended()
    }

    /// Closes its input, which makes it end by itself, and kills what is left after a short wait.
    pub(super) async fn end(mut self, shared: &Shared) {
        // Dropping the last sender closes the input.
        drop(std::mem::replace(&mut self.to, mpsc::unbounded_channel().0));
        tokio::select! {
            _ = self.group.ended() => {}
            () = shared.clock.pause(END_DEADLINE) => {}
        }
        self.kill(shared).await;
    }

    /// Kills it and all that it has started.
    pub(super) async fn kill(self, shared: &Shared) {
        tokio::select! {
            _ = self.group.end() => {}
            // The system has not removed the process yet, but it runs no more code.
            () = shared.clock.pause(END_DEADLINE) => {}
        }
    }

    /// Sends a request and waits for the answer. The escalation stops the call if its result is no longer wanted.
    pub(super) async fn execute(
        &mut self,
        shared: &Shared,
        request: Request,
        listener: Option<Arc<dyn CallObserver>>,
        mut escalation: Escalation,
    ) -> Response {
        self.calls += 1;
        let id = self.calls;
        self.reader.listen(listener.clone());
        self.send(id, request);
        let result = self.read_frames(shared, id, listener.as_deref(), &mut escalation).await;
        let reusable = matches!(&result, Ok(received) if received.reusable) && !escalation.is_stopping();
        let response = match (result, escalation.why()) {
            (_, Some(why)) => Err(why),
            (Ok(received), None) => {
                tokio::select! {
                    () = self.reader.marked(id) => {}
                    () = shared.clock.pause(END_DEADLINE) => {}
                }
                received.result
            }
            (Err(broken), None) => Err(self.crashed(shared, broken).await),
        };
        if let (Err(ExecutorError::Raised(raised)), Some(listener)) = (&response, &listener)
            && !raised.traceback.is_empty()
        {
            listener.log(Level::ERROR, raised.traceback.trim_end());
        }
        self.reader.listen(None);
        Response { result: response, reusable }
    }

    fn send(&self, id: u64, request: Request) {
        let (header, body) = match request {
            Request::Call { info, input, form, most } => {
                let (bytes, form) = (input.len(), form.as_str());
                let header =
                    json!({ "type": "call", "id": id, "bytes": bytes, "call": info, "form": form, "most": most });
                (header, input)
            }
            Request::Describe => (json!({ "type": "describe", "id": id }), Bytes::new()),
        };
        let mut line = format!("{header}\n").into_bytes();
        let rest = if body.len() <= COPIED {
            line.extend_from_slice(&body);
            None
        } else {
            Some(body)
        };
        // Sending fails only if the process no longer reads its input, and its end is noticed elsewhere.
        for message in std::iter::once(line.into()).chain(rest) {
            drop(self.to.send(message));
        }
    }

    /// Notifies the interpreter that the result of a call is no longer wanted. With `now`, the call is interrupted.
    fn cancel(&self, id: u64, now: bool) {
        drop(self.to.send(format!("{}\n", json!({ "type": "cancel", "id": id, "now": now })).into()));
    }

    /// Reads frames until the call ends. The error is how the process ended before that.
    async fn read_frames(
        &mut self,
        shared: &Shared,
        id: u64,
        listener: Option<&dyn CallObserver>,
        escalation: &mut Escalation,
    ) -> Result<Response, Ended> {
        let mut ended = None;
        // A process that has left the group can hold the pipe open, so the wait for its end is limited.
        let mut last: Pause = Box::pin(std::future::pending());
        loop {
            tokio::select! {
                received = self.frames.next() => match received {
                    Received::Frame(frame, body) => match self.handle_frame(id, frame, body, listener) {
                        Some(Ok(response)) => return Ok(response),
                        Some(Err(nonsense)) => return Err(nonsense),
                        None => {}
                    },
                    Received::Line(line) => self.reader.on_line(&line),
                    Received::Nonsense => return Err(Ended::Nonsense),
                    Received::End => return Err(match ended {
                        Some(ended) => ended,
                        None => self.last(shared).await,
                    }),
                },
                end = self.group.ended(), if ended.is_none() => {
                    ended = Some(end);
                    last = shared.clock.pause(END_DEADLINE);
                    // Forked copies of the process must not hold its pipes open.
                    self.group.sweep();
                }
                step = escalation.next() => match step {
                    StopStep::Notify => self.cancel(id, false),
                    // The interpreter itself sends SIGTERM to the processes that it has started.
                    StopStep::Interrupt => self.cancel(id, true),
                    StopStep::Terminate => self.group.terminate(),
                    StopStep::Kill => self.group.kill(),
                    StopStep::GiveUp => return Err(Ended::Signal(9)),
                },
                () = &mut last => return Err(ended.unwrap_or(Ended::Nonsense)),
            }
        }
    }

    /// Returns how the process ended after it has closed its pipe. A process that lives on without its pipe is useless,
    /// so this counts as a violation of the protocol.
    async fn last(&mut self, shared: &Shared) -> Ended {
        tokio::select! {
            ended = self.group.ended() => ended,
            () = shared.clock.pause(END_DEADLINE) => Ended::Nonsense,
        }
    }

    async fn crashed(&mut self, shared: &Shared, ended: Ended) -> ExecutorError {
        self.group.kill();
        tokio::select! {
            () = self.reader.closed() => {}
            () = shared.clock.pause(END_DEADLINE) => {}
        }
        ExecutorError::Crashed(Crash {
            what: format!("the Python process of `{}`", self.file),
            ended,
            stderr: self.reader.last(),
        })
    }

    /// Handles a frame. Returns the answer if the frame ends the call, or an error if it violates the protocol.
    fn handle_frame(
        &self,
        id: u64,
        frame: Frame,
        body: Bytes,
        listener: Option<&dyn CallObserver>,
    ) -> Option<Result<Response, Ended>> {
        if frame.ends().is_some_and(|ends| ends != id) {
            return Some(Err(Ended::Nonsense));
        }
        let (result, reusable) = match frame {
            Frame::Ready { python } => {
                tracing::debug!(file = self.file, python, "started a Python interpreter");
                return None;
            }
            Frame::Loaded => return None,
            Frame::Log { level, line } => {
                listener?.log(level_of(&level), &line);
                return None;
            }
            Frame::Metric { name, value, labels } => {
                listener?.metric(&name, value, &labels);
                return None;
            }
            Frame::Progress { percent, info } => {
                listener?.progress(percent, &info);
                return None;
            }
            Frame::Unfit { message } => (Err(ExecutorError::Unavailable(message)), false),
            Frame::Unloadable(exception) => {
                let raised = Box::new(Raised::from(exception));
                let unfit = !raised.retry && raised.traceback.is_empty();
                let error = if unfit { ExecutorError::Unfit(raised.message) } else { ExecutorError::Raised(raised) };
                (Err(error), false)
            }
            Frame::Returned { .. } | Frame::Described { .. } => {
                match output_json::check(&body) {
                    Ok(()) => (Ok(body), true),
                    // For example, the output is nested too deeply.
                    Err(error) => (Err(ExecutorError::Output(format!("invalid output: {error}"))), true),
                }
            }
            // After a `MemoryError` the interpreter is not reused: whatever took the memory may still hold it.
            Frame::Raised { exception, .. } => {
                let raised = Box::new(Raised::from(exception));
                let reusable = raised.kind != "MemoryError";
                (Err(ExecutorError::Raised(raised)), reusable)
            }
            Frame::Rejected { field, message, .. } => (Err(ExecutorError::Input { field, message }), true),
            Frame::Unwritable { message, .. } => (Err(ExecutorError::Output(message)), true),
            // Expected only from a call that is being stopped, whose result is the reason for the stop in any case.
            Frame::Cancelled { .. } => return Some(Err(Ended::Nonsense)),
        };
        Some(Ok(Response { result, reusable }))
    }
}

fn level_of(word: &str) -> Level {
    match word {
        "error" => Level::ERROR,
        "warn" => Level::WARN,
        "debug" => Level::DEBUG,
        _ => Level::INFO,
    }
}

/// Writes messages to the interpreter's input, and closes it when all senders are dropped.
async fn write(mut stdin: ChildStdin, mut messages: mpsc::UnboundedReceiver<Bytes>) {
    while let Some(message) = messages.recv().await {
        if stdin.write_all(&message).await.is_err() {
            return;
        }
    }
}
