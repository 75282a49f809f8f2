//! The ladder: how a call is stopped that nobody wants any more. First it is asked, at last it is killed.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Pause};
use crate::executor::ExecutorError;

/// One way to stop a call; each is harder than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rung {
    /// It is told, and may tidy up.
    Ask,
    /// The processes get SIGTERM.
    Terminate,
    /// The processes get SIGKILL.
    Kill,
    /// The system does not let go of them; nobody waits for that.
    GiveUp,
}

impl Rung {
    const fn next(self) -> Self {
        match self {
            Self::Ask => Self::Terminate,
            Self::Terminate => Self::Kill,
            Self::Kill | Self::GiveUp => Self::GiveUp,
        }
    }
}

/// Why a call is not wanted any more, once that is so.
pub(super) type Unwanted = Pin<Box<dyn Future<Output = ExecutorError> + Send>>;

/// Says when a call must be stopped, and how.
pub(super) struct Ladder {
    unwanted: Unwanted,
    clock: Arc<dyn Clock>,
    grace: Duration,
    next: Rung,
    /// Why, and when the next rung is due.
    climbing: Option<(ExecutorError, Pause)>,
}

impl Ladder {
    pub(super) fn new(first: Rung, unwanted: Unwanted, clock: Arc<dyn Clock>, grace: Duration) -> Self {
        Self { unwanted, clock, grace, next: first, climbing: None }
    }

    /// The next step to take; the first one when the call is not wanted any more.
    ///
    /// # Cancel safety
    /// If the future is dropped no step is lost.
    pub(super) async fn next(&mut self) -> Rung {
        if let Some((_, pause)) = &mut self.climbing {
            pause.await;
        } else {
            let why = self.unwanted.as_mut().await;
            self.climbing = Some((why, self.clock.pause(self.grace)));
        }
        let rung = self.next;
        self.next = rung.next();
        if let Some((_, pause)) = &mut self.climbing {
            *pause = self.clock.pause(self.grace);
        }
        rung
    }

    /// Whether the call is being stopped.
    pub(super) const fn is_climbing(&self) -> bool {
        self.climbing.is_some()
    }

    /// Why the call was stopped, if it was.
    pub(super) fn why(self) -> Option<ExecutorError> {
        self.climbing.map(|(why, _)| why)
    }

    /// Waits for something that cannot be stopped half-way, unless the call is not wanted any more.
    pub(super) async fn unless_unwanted<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ExecutorError> {
        tokio::select! {
            biased;
            why = self.unwanted.as_mut() => Err(why),
            done = work => Ok(done),
        }
    }
}

impl fmt::Debug for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ladder").field("next", &self.next).finish_non_exhaustive()
    }
}
