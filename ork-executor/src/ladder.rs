//! The escalation that stops a call: first the call is asked to end, finally its processes are killed.
//!
//! A cancelled call gets time: it is asked to end, can check for this, and can clean up. A call gets no time if its
//! time limit has passed, its caller has gone, or the worker has to stop: it is interrupted at once, and killed one
//! grace period later.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ork_core::clock::{Clock, Pause};
use ork_ports::executor::ExecutorError;

/// One step of the escalation. Each is harsher than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// The call is notified. It can clean up once it checks for the notification.
    Ask,
    /// The call is notified, and the code that it runs is interrupted.
    Interrupt,
    /// The processes get SIGTERM.
    Terminate,
    /// The processes get SIGKILL.
    Kill,
    /// The system has not removed the killed processes: stop waiting for them.
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

/// The first steps of the escalation, which depend on the kind of process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foot {
    /// The first step for a call that was cancelled.
    pub gentle: Rung,
    /// The first step for a call that gets no time.
    pub hurried: Rung,
}

/// The two events that start the escalation.
pub(super) struct Unwanted {
    /// Completes when the call is cancelled.
    pub cancelled: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Completes with the reason when the call has to end without delay.
    pub hurry: Pin<Box<dyn Future<Output = ExecutorError> + Send>>,
}

/// Decides when a call is stopped, and by which steps.
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
    /// The last step that was taken.
    rung: Rung,
    /// Ends when the next step is due.
    pause: Pause,
}

impl Ladder {
    pub(super) fn new(foot: Foot, unwanted: Unwanted, clock: Arc<dyn Clock>, grace: Duration) -> Self {
        Self { foot, unwanted, clock, grace, climbing: None, hurried: false }
    }

    /// Waits until the next step is due and returns it. The first one is due when the call is no longer wanted.
    ///
    /// # Cancel safety
    /// If the future is dropped, no step is lost.
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
                // A step at least as harsh was taken before.
                self.climbing = climbed;
                continue;
            }
            let why = climbed.map_or(why, |climb| climb.why);
            self.climbing = Some(Climb { why, rung, pause: self.clock.pause(self.grace) });
            return rung;
        }
    }

    /// Returns whether the call is being stopped.
    pub(super) const fn is_climbing(&self) -> bool {
        self.climbing.is_some()
    }

    /// Returns why the call was stopped, or `None` if it was not.
    pub(super) fn why(self) -> Option<ExecutorError> {
        self.climbing.map(|climb| climb.why)
    }

    /// Waits for work that no step of the escalation can stop, such as acquiring a permit. Gives up, with the reason,
    /// as soon as the call is no longer wanted.
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
    use ork_core::clock::Timestamp;

    const PYTHON: Foot = Foot { gentle: Rung::Ask, hurried: Rung::Interrupt };
    const PROGRAM: Foot = Foot { gentle: Rung::Terminate, hurried: Rung::Terminate };

    /// A clock whose pauses end one at a time, each when the test strikes the bell.
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

        /// Returns the step that is due now, if any.
        fn step(&mut self) -> Option<Rung> {
            self.ladder.next().now_or_never()
        }

        /// Returns the steps that follow as one grace period after another passes.
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
    fn cancelled_call_gets_grace_timed_out_call_does_not() {
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
    fn cancelled_call_is_interrupted_when_its_time_runs_out() {
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
