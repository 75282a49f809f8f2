//! One interpreter: a process with one file loaded, which runs one call at a time.

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
use super::super::lines::Ears;
use super::super::well_formed;
use super::super::{LAST_WORDS, Shared};
use super::frames::{Frame, Frames, Heard};
use crate::clock::Pause;
use crate::executor::{Crash, Ended, ExecutorError, Listener, Raised};

/// Descriptions of types may be long, whatever the limit for outputs is.
const MOST_DESCRIPTION: usize = 16 * 1024 * 1024;

/// An input that is not longer is written with its header at once.
const COPIED: usize = 64 * 1024;

/// An interpreter.
#[derive(Debug)]
pub(super) struct Interpreter {
    group: Group,
    frames: Frames<ChildStdout>,
    to: mpsc::UnboundedSender<Bytes>,
    ears: Arc<Ears>,
    /// Its standard error is read as long as this is here.
    _reading: DropGuard,
    file: String,
    calls: u64,
}

/// What an interpreter is asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// To run the function.
    Call {
        /// What it knows about its job.
        about: Value,
        /// Its input.
        input: Bytes,
        /// Which form of it the only parameter gets.
        form: Form,
        /// The largest output.
        most: usize,
    },
    /// To describe the function's types.
    Describe,
}

/// How it answered, and whether it can be asked again.
#[derive(Debug)]
pub(super) struct Answer {
    pub result: Result<Bytes, ExecutorError>,
    pub reusable: bool,
}

impl Interpreter {
    /// Starts an interpreter, which loads the file at once.
    pub(super) fn start(shared: &Shared, command: Command, file: &str) -> std::io::Result<Self> {
        let (group, Pipes { stdin, stdout, stderr }) = Group::start(command, &shared.guard)?;
        let (ears, (to, messages)) = (Ears::new(), mpsc::unbounded_channel());
        let reading = ears.read_by(&shared.tasks, stderr);
        shared.tasks.spawn(write(stdin, messages));
        let frames = Frames::new(stdout, shared.settings.most_output.max(MOST_DESCRIPTION));
        Ok(Self { group, frames, to, ears, _reading: reading, file: file.to_owned(), calls: 0 })
    }

    /// Whether it still runs, as far as is known.
    pub(super) fn is_alive(&mut self) -> bool {
        !self.group.has_ended()
    }

    /// Lets it end by itself, as it does when it hears no more, and ends what is left.
    pub(super) async fn end(mut self, shared: &Shared) {
        // Its input ends with the last sender.
        drop(std::mem::replace(&mut self.to, mpsc::unbounded_channel().0));
        tokio::select! {
            _ = self.group.ended() => {}
            () = shared.clock.pause(LAST_WORDS) => {}
        }
        self.kill(shared).await;
    }

    /// Ends it and all that it has started.
    pub(super) async fn kill(self, shared: &Shared) {
        tokio::select! {
            _ = self.group.end() => {}
            // The system does not let go of it yet; it is dead all the same.
            () = shared.clock.pause(LAST_WORDS) => {}
        }
    }

    /// Asks it, and waits for the answer.
    pub(super) async fn ask(
        &mut self,
        shared: &Shared,
        ask: Ask,
        listener: Option<Arc<dyn Listener>>,
        mut ladder: Ladder,
    ) -> Answer {
        self.calls += 1;
        let id = self.calls;
        self.ears.listen(listener.clone());
        self.send(id, ask);
        let result = self.hear(shared, id, listener.as_deref(), &mut ladder).await;
        let reusable = matches!(&result, Ok(heard) if heard.reusable) && !ladder.is_climbing();
        let answer = match (result, ladder.why()) {
            (_, Some(why)) => Err(why),
            (Ok(heard), None) => {
                tokio::select! {
                    () = self.ears.marked(id) => {}
                    () = shared.clock.pause(LAST_WORDS) => {}
                }
                heard.result
            }
            (Err(broken), None) => Err(self.crashed(shared, broken).await),
        };
        if let (Err(ExecutorError::Raised(raised)), Some(listener)) = (&answer, &listener)
            && !raised.traceback.is_empty()
        {
            listener.log(Level::ERROR, raised.traceback.trim_end());
        }
        self.ears.listen(None);
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
        // Whoever does not hear it has ended, which is noticed.
        for message in std::iter::once(line.into()).chain(rest) {
            drop(self.to.send(message));
        }
    }

    /// Tells it that nobody waits for a call any more; `now` interrupts what the call does.
    fn cancel(&self, id: u64, now: bool) {
        drop(self.to.send(format!("{}\n", json!({ "type": "cancel", "id": id, "now": now })).into()));
    }

    /// Hears what it says until a call ends; an error is how the process ended before.
    async fn hear(
        &mut self,
        shared: &Shared,
        id: u64,
        listener: Option<&dyn Listener>,
        ladder: &mut Ladder,
    ) -> Result<Answer, Ended> {
        let mut ended = None;
        // What has left the group may hold the pipe open.
        let mut last: Pause = Box::pin(std::future::pending());
        loop {
            tokio::select! {
                heard = self.frames.next() => match heard {
                    Heard::Frame(frame, body) => match self.answer(id, frame, body, listener) {
                        Some(Ok(answer)) => return Ok(answer),
                        Some(Err(nonsense)) => return Err(nonsense),
                        None => {}
                    },
                    Heard::Line(line) => self.ears.hear(&line),
                    Heard::Nonsense => return Err(Ended::Nonsense),
                    Heard::End => return Err(match ended {
                        Some(ended) => ended,
                        None => self.last(shared).await,
                    }),
                },
                end = self.group.ended(), if ended.is_none() => {
                    ended = Some(end);
                    last = shared.clock.pause(LAST_WORDS);
                    // Copies of it must not hold its pipes open.
                    self.group.sweep();
                }
                rung = ladder.next() => match rung {
                    Rung::Ask => self.cancel(id, false),
                    // It tells what it has started.
                    Rung::Interrupt => self.cancel(id, true),
                    Rung::Terminate => self.group.terminate(),
                    Rung::Kill => self.group.kill(),
                    Rung::GiveUp => return Err(Ended::Signal(9)),
                },
                () = &mut last => return Err(ended.unwrap_or(Ended::Nonsense)),
            }
        }
    }

    /// How it ended, when it has closed its pipe. If it lives on without it, nobody can hear it.
    async fn last(&mut self, shared: &Shared) -> Ended {
        tokio::select! {
            ended = self.group.ended() => ended,
            () = shared.clock.pause(LAST_WORDS) => Ended::Nonsense,
        }
    }

    async fn crashed(&mut self, shared: &Shared, ended: Ended) -> ExecutorError {
        self.group.kill();
        tokio::select! {
            () = self.ears.closed() => {}
            () = shared.clock.pause(LAST_WORDS) => {}
        }
        ExecutorError::Crashed(Crash {
            what: format!("the Python process of `{}`", self.file),
            ended,
            stderr: self.ears.last(),
        })
    }

    /// The answer that a frame is, if it is one.
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
                tracing::debug!(file = self.file, python, "an interpreter has started");
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
            Frame::Unloadable(told) => {
                let raised = Box::new(Raised::from(told));
                let unfit = !raised.retry && raised.traceback.is_empty();
                let error = if unfit { ExecutorError::Unfit(raised.message) } else { ExecutorError::Raised(raised) };
                (Err(error), false)
            }
            Frame::Returned { .. } | Frame::Described { .. } => {
                match well_formed::check(&body) {
                    Ok(()) => (Ok(body), true),
                    // Nested more deeply than is read, for one.
                    Err(error) => (Err(ExecutorError::Output(format!("what it returned is not taken: {error}"))), true),
                }
            }
            // Whatever took the memory may still be there.
            Frame::Raised { told, .. } => {
                let raised = Box::new(Raised::from(told));
                let reusable = raised.kind != "MemoryError";
                (Err(ExecutorError::Raised(raised)), reusable)
            }
            Frame::Rejected { field, message, .. } => (Err(ExecutorError::Input { field, message }), true),
            Frame::Unwritable { message, .. } => (Err(ExecutorError::Output(message)), true),
            // Who was asked to end, and nobody waits for, may say so.
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

/// Writes what the interpreter is to read; closes its input when there is no more.
async fn write(mut stdin: ChildStdin, mut messages: mpsc::UnboundedReceiver<Bytes>) {
    while let Some(message) = messages.recv().await {
        if stdin.write_all(&message).await.is_err() {
            return;
        }
    }
}
