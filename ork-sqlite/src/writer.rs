//! The thread that writes: it applies all commands that wait in one transaction, and replies after the commit.
//!
//! The results of claims are returned before the commit, and the transaction stays open for a moment: the claim and
//! the outcome of a short task are then written together.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::command::Command;
use crate::error::store_error;
use crate::session::Session;
use crate::wake::Bell;
use ork_core::tx::StoreNotice;
use ork_ports::store::{Notifier, StoreError, StoreErrorKind};

/// The maximum number of commands in one transaction, so that those behind them do not wait for too long.
const BATCH: usize = 4_096;

/// The time that a transaction that contains only claims waits for further commands, and the number of such waits.
const LINGER: Duration = Duration::from_millis(1);
const ROUNDS: usize = 4;

/// A handle to the writing thread.
#[derive(Debug)]
pub(crate) struct Writer(JoinHandle<()>);

impl Writer {
    pub(crate) fn start(
        path: PathBuf,
        session: Session,
        queue: Receiver<Command>,
        notifier: Notifier,
        bell: Bell,
    ) -> Result<Self, StoreError> {
        let state = Thread { path, session, notifier, bell };
        let thread = std::thread::Builder::new().name("ork-sqlite".into()).spawn(move || state.run(&queue));
        thread.map(Self).map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, "cannot start a thread for the store").with_source(error)
        })
    }

    pub(crate) fn join(self) {
        // The panic hook has reported a panic of the thread, and all waiting callers have received an error that the
        // store is closed.
        drop(self.0.join());
    }
}

struct Thread {
    /// The path of the file, for errors.
    path: PathBuf,
    /// The writing connection, with its open transaction.
    session: Session,
    /// Announces committed changes to the listeners in this process.
    notifier: Notifier,
    /// Announces committed changes to the other processes that share the file.
    bell: Bell,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Command>) {
        let mut rounds = 0;
        loop {
            let first =
                if self.session.is_begun() { queue.recv_timeout(LINGER) } else { queue.recv().map_err(Into::into) };
            let mut batch = Vec::new();
            let mut closing = false;
            match first {
                Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => closing = true,
                Ok(command) => batch.push(command),
                Err(RecvTimeoutError::Timeout) => {}
            }
            while batch.len() < BATCH {
                match queue.try_recv() {
                    Ok(Command::Close) => closing = true,
                    Ok(command) => batch.push(command),
                    Err(_empty) => break,
                }
            }
            rounds = if self.session.is_begun() { rounds + 1 } else { 0 };
            let linger = !closing && !batch.is_empty() && rounds < ROUNDS;
            if !batch.is_empty() || self.session.is_begun() {
                self.carry_out(batch, linger);
            }
            if closing {
                return;
            }
        }
    }

    /// Applies the commands, commits, and replies. If `linger` is set, and all results could be returned early, the
    /// transaction stays open.
    fn carry_out(&mut self, mut batch: Vec<Command>, linger: bool) {
        match self.transaction(&mut batch, linger) {
            Ok(Some(notifier)) => {
                let notifier: Vec<_> = self.notifier.send_events(notifier).collect();
                for command in batch {
                    command.finish(Ok(()));
                }
                self.notify(notifier);
            }
            Ok(None) => {}
            Err(error) => {
                self.session.roll_back();
                if batch.is_empty() {
                    tracing::warn!(%error, "cannot write claims; their work may be delivered again");
                }
                if batch.len() == 1 || !is_of_one(&error) {
                    for command in batch {
                        command.finish(Err(error.copy()));
                    }
                } else {
                    // One of the commands may be at fault; each is retried alone, so that only that one fails.
                    for command in batch {
                        self.carry_out(vec![command], false);
                    }
                }
            }
        }
    }

    /// Returns the notices of a commit; `None` if the transaction is still open.
    fn transaction(&mut self, batch: &mut Vec<Command>, linger: bool) -> Result<Option<Vec<StoreNotice>>, StoreError> {
        let Self { path, session, .. } = self;
        let wrong = |error| store_error(path, error);
        session.begin(batch.iter().any(Command::may_be_durable)).map_err(wrong)?;
        let mut early = Vec::with_capacity(batch.len());
        for command in batch.iter_mut() {
            early.push(match command {
                Command::Work(work) => session.apply(work.as_mut()).map_err(wrong)?,
                Command::Io(_) | Command::Close => false,
            });
        }
        let all_early = early.iter().all(|early| *early);
        session.answer_early(early.contains(&true));
        let mut early = early.into_iter();
        for command in batch.extract_if(.., |_| early.next().unwrap_or(false)) {
            command.finish(Ok(()));
        }
        if all_early && linger && !session.is_shared() {
            return Ok(None);
        }
        let ios = batch.iter_mut().filter_map(|command| match command {
            Command::Io(io) => Some(io),
            Command::Work(_) | Command::Close => None,
        });
        session.commit(&mut ios.collect::<Vec<_>>()).map(Some).map_err(wrong)
    }

    fn notify(&self, notifier: Vec<StoreNotice>) {
        self.bell.ring(&notifier);
        for change in notifier {
            self.notifier.notify(change);
        }
    }
}

/// Whether a single command can be the cause of this error.
fn is_of_one(error: &StoreError) -> bool {
    match error.kind() {
        StoreErrorKind::Unavailable | StoreErrorKind::ReadOnly | StoreErrorKind::Closed => false,
        StoreErrorKind::TooNew
        | StoreErrorKind::Corrupt
        | StoreErrorKind::Config
        | StoreErrorKind::Data
        | StoreErrorKind::NotFound
        | StoreErrorKind::NoStore => true,
    }
}
