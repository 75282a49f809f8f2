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

use super::super::group::{Group, Pipes};
use super::super::ladder::{Ladder, Rung};
use super::super::lines::StderrReader;
use super::super::well_formed;
use super::super::{LAST_WORDS, Shared};
use super::frames::{Frame, Frames, Received};
use ork_core::clock::Pause;
use ork_ports::executor::{Crash, Ended, ExecutorError, Listener, Raised};

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
pub(super) enum Ask {
    /// Run the function.
    Call {
        /// What the call's context knows about its job.
        about: Value,
        /// The input of the task.
        input: Bytes,
        /// How the input is passed to a single parameter.
        form: Form,
        /// The largest output, in bytes.
        most: usize,
    },
    /// Describe the function's types.
    Describe,
}

/// The answer to a request, and whether the interpreter can take another one.
#[derive(Debug)]
pub(super) struct Answer {
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
            () = shared.clock.pause(LAST_WORDS) => {}
        }
        self.kill(shared).await;
    }

    /// Kills it and all that it has started.
    pub(super) async fn kill(self, shared: &Shared) {
        tokio::select! {
            _ = self.group.end() => {}
            // The system has not removed the process yet, but it runs no more code.
            () = shared.clock.pause(LAST_WORDS) => {}
        }
    }

    /// Sends a request and waits for the answer. The ladder stops the call if its result is no longer wanted.
    pub(super) async fn ask(
        &mut self,
        shared: &Shared,
        ask: Ask,
        listener: Option<Arc<dyn Listener>>,
        mut ladder: Ladder,
    ) -> Answer {
        self.calls += 1;
        let id = self.calls;
        self.reader.listen(listener.clone());
        self.send(id, ask);
        let result = self.read_frames(shared, id, listener.as_deref(), &mut ladder).await;
        let reusable = matches!(&result, Ok(received) if received.reusable) && !ladder.is_climbing();
        let answer = match (result, ladder.why()) {
            (_, Some(why)) => Err(why),
            (Ok(received), None) => {
                tokio::select! {
                    () = self.reader.marked(id) => {}
                    () = shared.clock.pause(LAST_WORDS) => {}
                }
                received.result
            }
            (Err(broken), None) => Err(self.crashed(shared, broken).await),
        };
        if let (Err(ExecutorError::Raised(raised)), Some(listener)) = (&answer, &listener)
            && !raised.traceback.is_empty()
        {
            listener.log(Level::ERROR, raised.traceback.trim_end());
        }
        self.reader.listen(None);
        Answer { result: answer, reusable }
    }

    fn send(&self, id: u64, ask: Ask) {
        let (header, body) = match ask {
            Ask::Call { about, input, form, most } => {
                let (bytes, form) = (input.len(), form.as_str());
                let header =
                    json!({ "type": "call", "id": id, "bytes": bytes, "about": about, "form": form, "most": most });
                (header, input)
            }
            Ask::Describe => (json!({ "type": "describe", "id": id }), Bytes::new()),
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

    /// Reads frames until the call ends. The error says how the process ended before that.
    async fn read_frames(
        &mut self,
        shared: &Shared,
        id: u64,
        listener: Option<&dyn Listener>,
        ladder: &mut Ladder,
    ) -> Result<Answer, Ended> {
        let mut ended = None;
        // A process that has left the group can hold the pipe open, so the wait for its end is limited.
        let mut last: Pause = Box::pin(std::future::pending());
        loop {
            tokio::select! {
                received = self.frames.next() => match received {
                    Received::Frame(frame, body) => match self.answer(id, frame, body, listener) {
                        Some(Ok(answer)) => return Ok(answer),
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
                    last = shared.clock.pause(LAST_WORDS);
                    // Forked copies of the process must not hold its pipes open.
                    self.group.sweep();
                }
                rung = ladder.next() => match rung {
                    Rung::Ask => self.cancel(id, false),
                    // The interpreter itself sends SIGTERM to the processes that it has started.
                    Rung::Interrupt => self.cancel(id, true),
                    Rung::Terminate => self.group.terminate(),
                    Rung::Kill => self.group.kill(),
                    Rung::GiveUp => return Err(Ended::Signal(9)),
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
            () = shared.clock.pause(LAST_WORDS) => Ended::Nonsense,
        }
    }

    async fn crashed(&mut self, shared: &Shared, ended: Ended) -> ExecutorError {
        self.group.kill();
        tokio::select! {
            () = self.reader.closed() => {}
            () = shared.clock.pause(LAST_WORDS) => {}
        }
        ExecutorError::Crashed(Crash {
            what: format!("the Python process of `{}`", self.file),
            ended,
            stderr: self.reader.last(),
        })
    }

    /// Handles a frame. Returns the answer if the frame ends the call, or an error if it violates the protocol.
    fn answer(
        &self,
        id: u64,
        frame: Frame,
        body: Bytes,
        listener: Option<&dyn Listener>,
    ) -> Option<Result<Answer, Ended>> {
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
                match well_formed::check(&body) {
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
        Some(Ok(Answer { result, reusable }))
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
