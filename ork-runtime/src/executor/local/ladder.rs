//! The ladder: how a call is stopped that nobody wants any more. First it is asked, at last it is killed.
//!
//! Who cancels a call has time: it is asked, may look, and may tidy up. Whose time is up, or whose worker has to go, has
//! none: what it does is interrupted at once, and one grace later it is dead.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Pause};
use crate::executor::ExecutorError;

/// One way to stop a call; each is harder than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// It is told, and may tidy up when it has looked.
    Ask,
    /// It is told, and what it does just now is interrupted.
    Interrupt,
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
            Self::Interrupt | Self::Terminate => Self::Kill,
            Self::Kill | Self::GiveUp => Self::GiveUp,
        }
    }
}

/// Where one begins to climb.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foot {
    /// When it was cancelled.
    pub gentle: Rung,
    /// When there is no time.
    pub hurried: Rung,
}

/// Why a call is not wanted any more, once that is so.
pub(super) struct Unwanted {
    /// It was cancelled.
    pub cancelled: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// There is no time.
    pub hurry: Pin<Box<dyn Future<Output = ExecutorError> + Send>>,
}

/// Says when a call must be stopped, and how.
pub(super) struct Ladder {
    foot: Foot,
    unwanted: Unwanted,
    clock: Arc<dyn Clock>,
    grace: Duration,
    climbing: Option<Climb>,
    hurried: bool,
}

struct Climb {
    why: ExecutorError,
    /// The last rung that was taken, and when the next one is due.
    rung: Rung,
    pause: Pause,
}

impl Ladder {
    pub(super) fn new(foot: Foot, unwanted: Unwanted, clock: Arc<dyn Clock>, grace: Duration) -> Self {
        Self { foot, unwanted, clock, grace, climbing: None, hurried: false }
    }

    /// The next step to take; the first one when the call is not wanted any more.
    ///
    /// # Cancel safety
    /// If the future is dropped no step is lost.
    pub(super) async fn next(&mut self) -> Rung {
        loop {
            let Unwanted { cancelled, hurry } = &mut self.unwanted;
            let due = async {
                if let Some(climb) = &mut self.climbing {
                    climb.pause.as_mut().await;
                    climb.rung.next()
                } else {
                    cancelled.await;
                    self.foot.gentle
                }
            };
            let (rung, why) = tokio::select! {
                biased;
                why = hurry, if !self.hurried => {
                    self.hurried = true;
                    (self.foot.hurried, why)
                }
                rung = due => (rung, ExecutorError::Interrupted),
            };
            let climbed = self.climbing.take();
            if climbed.as_ref().is_some_and(|climb| climb.rung >= rung && rung != Rung::GiveUp) {
                // It is higher already.
                self.climbing = climbed;
                continue;
            }
            let why = climbed.map_or(why, |climb| climb.why);
            self.climbing = Some(Climb { why, rung, pause: self.clock.pause(self.grace) });
            return rung;
        }
    }

    /// Whether the call is being stopped.
    pub(super) const fn is_climbing(&self) -> bool {
        self.climbing.is_some()
    }

    /// Why the call was stopped, if it was.
    pub(super) fn why(self) -> Option<ExecutorError> {
        self.climbing.map(|climb| climb.why)
    }

    /// Waits for something that cannot be stopped half-way, unless the call is not wanted any more.
    pub(super) async fn unless_unwanted<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ExecutorError> {
        tokio::select! {
            biased;
            why = &mut self.unwanted.hurry => Err(why),
            () = &mut self.unwanted.cancelled => Err(ExecutorError::Interrupted),
            done = work => Ok(done),
        }
    }
}

impl fmt::Debug for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rung = self.climbing.as_ref().map(|climb| climb.rung);
        f.debug_struct("Ladder").field("foot", &self.foot).field("rung", &rung).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::Notify;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Timestamp;

    const PYTHON: Foot = Foot { gentle: Rung::Ask, hurried: Rung::Interrupt };
    const PROGRAM: Foot = Foot { gentle: Rung::Terminate, hurried: Rung::Terminate };

    /// A clock whose pauses end one by one, when it is struck.
    #[derive(Debug, Default)]
    struct Bell(Arc<Notify>);

    impl Clock for Bell {
        fn now(&self) -> Timestamp {
            Timestamp::default()
        }

        fn pause(&self, _: Duration) -> Pause {
            let struck = Arc::clone(&self.0);
            Box::pin(async move { struck.notified().await })
        }
    }

    struct Call {
        ladder: Ladder,
        bell: Arc<Notify>,
        cancelled: CancellationToken,
        hurry: CancellationToken,
    }

    impl Call {
        fn new(foot: Foot) -> Self {
            let (clock, cancelled, hurry) = (Bell::default(), CancellationToken::new(), CancellationToken::new());
            let (bell, late) = (Arc::clone(&clock.0), hurry.clone());
            let unwanted = Unwanted {
                cancelled: Box::pin(cancelled.clone().cancelled_owned()),
                hurry: Box::pin(async move {
                    late.cancelled().await;
                    ExecutorError::TimedOut(Duration::from_secs(1))
                }),
            };
            let ladder = Ladder::new(foot, unwanted, Arc::new(clock), Duration::from_secs(5));
            Self { ladder, bell, cancelled, hurry }
        }

        /// The step that is due now, if one is.
        fn step(&mut self) -> Option<Rung> {
            self.ladder.next().now_or_never()
        }

        /// The steps that follow when grace after grace goes by.
        fn climb(&mut self) -> Vec<Rung> {
            let mut steps = Vec::new();
            while steps.last() != Some(&Rung::GiveUp) {
                assert_eq!(self.step(), None, "a step before its time");
                self.bell.notify_one();
                steps.extend(self.step());
            }
            steps
        }
    }

    #[test]
    fn who_is_cancelled_has_time_and_whose_time_is_up_has_none() {
        let mut call = Call::new(PYTHON);
        assert_eq!(call.step(), None);
        call.cancelled.cancel();
        assert_eq!(call.step(), Some(Rung::Ask));
        assert_eq!(call.climb(), [Rung::Terminate, Rung::Kill, Rung::GiveUp]);
        assert!(matches!(call.ladder.why(), Some(ExecutorError::Interrupted)));
        for foot in [PYTHON, PROGRAM] {
            let mut call = Call::new(foot);
            call.hurry.cancel();
            assert_eq!(call.step(), Some(foot.hurried));
            assert_eq!(call.climb(), [Rung::Kill, Rung::GiveUp]);
            assert!(matches!(call.ladder.why(), Some(ExecutorError::TimedOut(_))));
        }
    }

    #[test]
    fn who_was_asked_is_interrupted_when_there_is_no_time_any_more() {
        let mut call = Call::new(PYTHON);
        call.cancelled.cancel();
        assert_eq!(call.step(), Some(Rung::Ask));
        call.hurry.cancel();
        assert_eq!(call.step(), Some(Rung::Interrupt));
        assert_eq!(call.climb(), [Rung::Kill, Rung::GiveUp]);
        assert!(matches!(call.ladder.why(), Some(ExecutorError::Interrupted)), "it was cancelled first");
    }

    #[test]
    fn no_step_is_taken_twice() {
        let mut call = Call::new(PROGRAM);
        call.cancelled.cancel();
        assert_eq!(call.step(), Some(Rung::Terminate));
        call.hurry.cancel();
        assert_eq!(call.climb(), [Rung::Kill, Rung::GiveUp]);
    }
}
