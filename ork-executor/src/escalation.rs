//! The escalation that stops a call: first the call is notified, finally its processes are killed.
//!
//! A cancelled call gets time: it is notified, can check for the notification, and can clean up. A call gets no time if
//! its time limit has passed, its caller has gone, or the worker has to stop: it is interrupted at once, and killed one
//! grace period later.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ork_core::clock::{Clock, Pause};
use ork_ports::executor::ExecutorError;

/// One step of the escalation. Each is harsher than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StopStep {
    /// The call is notified. It can clean up once it checks for the notification.
    Notify,
    /// The call is notified, and the code that it runs is interrupted.
    Interrupt,
    /// The processes get SIGTERM.
    Terminate,
    /// The processes get SIGKILL.
    Kill,
    /// The system has not removed the killed processes: stop waiting for them.
    GiveUp,
}

impl StopStep {
    const fn next(self) -> Self {
        match self {
            Self::Notify => Self::Terminate,
            Self::Interrupt | Self::Terminate => Self::Kill,
            Self::Kill | Self::GiveUp => Self::GiveUp,
        }
    }
}

/// The first steps of the escalation, which depend on the kind of process.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstSteps {
    /// The first step for a call that was cancelled.
    pub on_cancel: StopStep,
    /// The first step for a call that gets no time.
    pub without_grace: StopStep,
}

/// The two events that start the escalation.
pub(super) struct StopTriggers {
    /// Completes when the call is cancelled.
    pub cancelled: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Completes with the reason when the call has to end without delay.
    pub must_end: Pin<Box<dyn Future<Output = ExecutorError> + Send>>,
}

/// Decides when a call is stopped, and by which steps.
pub(super) struct Escalation {
    first_steps: FirstSteps,
    triggers: StopTriggers,
    clock: Arc<dyn Clock>,
    grace: Duration,
    stopping: Option<Stopping>,
    had_to_end: bool,
}

struct Stopping {
    why: ExecutorError,
    /// The last step that was taken.
    step: StopStep,
    /// Ends when the next step is due.
    pause: Pause,
}

impl Escalation {
    pub(super) fn new(first_steps: FirstSteps, triggers: StopTriggers, clock: Arc<dyn Clock>, grace: Duration) -> Self {
        Self { first_steps, triggers, clock, grace, stopping: None, had_to_end: false }
    }

    /// Waits until the next step is due and returns it. The first one is due when the call is no longer wanted.
    ///
    /// # Cancel safety
    /// If the future is dropped, no step is lost.
    pub(super) async fn next(&mut self) -> StopStep {
        loop {
            let StopTriggers { cancelled, must_end } = &mut self.triggers;
            let due = async {
                if let Some(stopping) = &mut self.stopping {
                    stopping.pause.as_mut().await;
                    stopping.step.next()
                } else {
                    cancelled.await;
                    self.first_steps.on_cancel
                }
            };
            let (step, why) = tokio::select! {
                biased;
                why = must_end, if !self.had_to_end => {
                    self.had_to_end = true;
                    (self.first_steps.without_grace, why)
                }
                step = due => (step, ExecutorError::Interrupted),
            };
            let previous = self.stopping.take();
            if previous.as_ref().is_some_and(|stopping| stopping.step >= step && step != StopStep::GiveUp) {
                // A step at least as harsh was taken before.
                self.stopping = previous;
                continue;
            }
            let why = previous.map_or(why, |stopping| stopping.why);
            self.stopping = Some(Stopping { why, step, pause: self.clock.pause(self.grace) });
            return step;
        }
    }

    /// Returns whether the call is being stopped.
    pub(super) const fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Returns why the call was stopped, or `None` if it was not.
    pub(super) fn why(self) -> Option<ExecutorError> {
        self.stopping.map(|stopping| stopping.why)
    }

    /// Waits for work that no step of the escalation can stop, such as acquiring a permit. Gives up, with the reason,
    /// as soon as the call is no longer wanted.
    pub(super) async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ExecutorError> {
        tokio::select! {
            biased;
            why = &mut self.triggers.must_end => Err(why),
            () = &mut self.triggers.cancelled => Err(ExecutorError::Interrupted),
            done = work => Ok(done),
        }
    }
}

impl fmt::Debug for Escalation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.stopping.as_ref().map(|stopping| stopping.step);
        f.debug_struct("Escalation")
            .field("first_steps", &self.first_steps)
            .field("step", &step)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::Notify;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use ork_core::clock::Timestamp;

    const PYTHON: FirstSteps = FirstSteps { on_cancel: StopStep::Notify, without_grace: StopStep::Interrupt };
    const PROGRAM: FirstSteps = FirstSteps { on_cancel: StopStep::Terminate, without_grace: StopStep::Terminate };

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
        escalation: Escalation,
        bell: Arc<Notify>,
        cancelled: CancellationToken,
        must_end: CancellationToken,
    }

    impl Call {
        fn new(first_steps: FirstSteps) -> Self {
            let (clock, cancelled, must_end) = (Bell::default(), CancellationToken::new(), CancellationToken::new());
            let (bell, late) = (Arc::clone(&clock.0), must_end.clone());
            let triggers = StopTriggers {
                cancelled: Box::pin(cancelled.clone().cancelled_owned()),
                must_end: Box::pin(async move {
                    late.cancelled().await;
                    ExecutorError::TimedOut(Duration::from_secs(1))
                }),
            };
            let escalation = Escalation::new(first_steps, triggers, Arc::new(clock), Duration::from_secs(5));
            Self { escalation, bell, cancelled, must_end }
        }

        /// Returns the step that is due now, if any.
        fn step(&mut self) -> Option<StopStep> {
            self.escalation.next().now_or_never()
        }

        /// Returns the steps that follow as one grace period after another passes.
        fn remaining_steps(&mut self) -> Vec<StopStep> {
            let mut steps = Vec::new();
            while steps.last() != Some(&StopStep::GiveUp) {
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
        assert_eq!(call.step(), Some(StopStep::Notify));
        assert_eq!(call.remaining_steps(), [StopStep::Terminate, StopStep::Kill, StopStep::GiveUp]);
        assert!(matches!(call.escalation.why(), Some(ExecutorError::Interrupted)));
        for first_steps in [PYTHON, PROGRAM] {
            let mut call = Call::new(first_steps);
            call.must_end.cancel();
            assert_eq!(call.step(), Some(first_steps.without_grace));
            assert_eq!(call.remaining_steps(), [StopStep::Kill, StopStep::GiveUp]);
            assert!(matches!(call.escalation.why(), Some(ExecutorError::TimedOut(_))));
        }
    }

    #[test]
    fn cancelled_call_is_interrupted_when_its_time_runs_out() {
        let mut call = Call::new(PYTHON);
        call.cancelled.cancel();
        assert_eq!(call.step(), Some(StopStep::Notify));
        call.must_end.cancel();
        assert_eq!(call.step(), Some(StopStep::Interrupt));
        assert_eq!(call.remaining_steps(), [StopStep::Kill, StopStep::GiveUp]);
        assert!(matches!(call.escalation.why(), Some(ExecutorError::Interrupted)), "it was cancelled first");
    }

    #[test]
    fn no_step_is_taken_twice() {
        let mut call = Call::new(PROGRAM);
        call.cancelled.cancel();
        assert_eq!(call.step(), Some(StopStep::Terminate));
        call.must_end.cancel();
        assert_eq!(call.remaining_steps(), [StopStep::Kill, StopStep::GiveUp]);
    }
}
