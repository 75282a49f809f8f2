//! The world around a run: workers, messages and a client; and the rules that every step is checked against.

use std::sync::Arc;

use bytes::Bytes;
use ork::{JobId, JobState};
use ork_core::job::{AttemptOutcome, Phase};
use ork_core::tree::CancelMode;
use ork_core::tx::{Cancel, Claim, Claimed, NewJob, Operation, Retry, Settle, StartWorkflow, Submit};
use ork_core::workflow_run::{StepState, WorkflowRun};

use super::super::fixtures::{by, failure, new_job};
use super::super::store::id;
use super::tables::Tables;
use super::{Config, Left, Mutant};

/// A rule that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// A step has started before the steps that it needs have ended, or although one of them failed.
    Early,
    /// Two jobs of one step are open at once.
    Twice,
    /// Something changed after the end.
    Moved,
    /// The numbers in the run are not those that counting its steps yields.
    Miscounted,
    /// The end of the run does not match its steps, or it had not exactly one reply.
    Misjudged,
    /// A step of a run that succeeded received an output of another step from before that was retried.
    Outdated,
}

/// A message; `suspect` if it was delivered before and its worker may have died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Msg {
    pub(super) job: JobId,
    pub(super) attempt: u32,
    pub(super) suspect: bool,
}

/// The activity of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) enum Activity {
    #[default]
    Idle,
    /// A claimed run: the jobs in `to_retry` are to be retried, then it starts.
    Run { attempt: u32, to_retry: Vec<JobId> },
    /// A claimed step.
    Task { job: JobId, attempt: u32 },
    /// Everything is in the store; only the acknowledgement is missing.
    Done,
}

/// A worker, and the delivery that it has not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Worker {
    pub(super) activity: Activity,
    pub(super) unacked: Option<Msg>,
    /// Whether the broker has redelivered its message to others, so that it is a zombie.
    pub(super) stale: bool,
    /// Messages that only a mutant keeps outside the transaction.
    pub(super) late: Vec<Msg>,
}

/// The state of the exploration.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct World {
    pub(super) tables: Arc<Tables>,
    pub(super) bag: Vec<Msg>,
    pub(super) workers: Vec<Worker>,
    pub(super) left: Left,
    pub(super) flaw: Option<Flaw>,
    /// How often each step has ended, and how often the steps that it needs had ended when it last started.
    ended: Vec<u8>,
    given: Vec<Vec<u8>>,
    /// How often the run has ended, and how many replies it had.
    ends: u8,
    replies: usize,
}

impl World {
    pub(super) fn new(config: &Config) -> Self {
        let tasks = config.tasks.len();
        let mut world = Self {
            tables: Arc::default(),
            bag: Vec::new(),
            workers: vec![Worker::default(); config.workers],
            left: config.left,
            flaw: None,
            ended: vec![0; tasks],
            given: vec![Vec::new(); tasks],
            ends: 0,
            replies: 0,
        };
        world.change(config, None, &Submit::new(new_job(), by(None)));
        world
    }

    pub(super) fn run_ended(&self) -> bool {
        self.tables.run().is_some_and(|run| run.state.is_final())
    }

    /// Carries out an operation for a worker or a client, as one transaction.
    fn change<O: Operation>(&mut self, config: &Config, worker: Option<usize>, operation: &O) -> O::Output {
        let before = Arc::clone(&self.tables);
        let mut applied = before.apply(operation);
        config.falsify(&before, &mut applied.tables);
        self.tables = Arc::new(applied.tables);
        self.replies += applied.replies;
        let messages = applied.messages.iter().map(|row| Msg { job: row.job, attempt: row.attempt, suspect: false });
        match worker {
            Some(worker) if config.mutant == Some(Mutant::MessagesOutside) => {
                self.workers[worker].late.extend(messages);
            }
            _ => self.bag.extend(messages),
        }
        self.flaw = self.flaw.or_else(|| self.look(&before));
        applied.output
    }

    /// Returns the first rule that a transaction has broken.
    fn look(&mut self, before: &Tables) -> Option<Flaw> {
        let after = Arc::clone(&self.tables);
        let run = after.run()?;
        if let Some(run) = run.workflow_run() {
            let started = |run: Option<&WorkflowRun>, at: usize| {
                run.map(|run| &run.steps[at]).filter(|step| step.state == StepState::Started).map(|step| step.restarts)
            };
            for at in 0..run.steps.len() {
                let (old, new) = (started(before.workflow_run(), at), started(Some(run), at));
                self.ended[at] += u8::from(old.is_some() && old != new);
            }
            for (at, step) in run.steps.iter().enumerate() {
                let (old, new) = (started(before.workflow_run(), at), started(Some(run), at));
                if new.is_some() && old != new {
                    self.given[at] = step.needs.iter().map(|needs| self.ended[*needs]).collect();
                    let needs = || step.needs.iter().map(|needs| run.steps[*needs].state);
                    if !needs().all(|stage| stage.is_final() && (step.run_on_failure || stage == StepState::Succeeded))
                    {
                        return Some(Flaw::Early);
                    }
                }
                let of = |job: &&ork_core::job::Job| {
                    job.step().is_some_and(|(place, _)| place == at) && !job.state.is_final()
                };
                if after.tasks().filter(of).count() > 1 {
                    return Some(Flaw::Twice);
                }
            }
        }
        let had_ended = before.run().is_some_and(|run| run.state.is_final());
        if had_ended && run.state.is_final() && before != &*after {
            return Some(Flaw::Moved);
        }
        let count = |state: fn(JobState) -> bool| after.tasks().filter(|job| state(job.state)).count();
        let counted = [count(|_| true), count(|state| !state.is_final()), count(|state| state == JobState::Failed)];
        if counted.map(|count| u64::try_from(count).unwrap())
            != [run.tree.descendants, run.tree.open_children, run.tree.failed_children]
        {
            return Some(Flaw::Miscounted);
        }
        self.ends += u8::from(!had_ended && run.state.is_final());
        (run.state.is_final()).then(|| self.judged(run.state, run.workflow_run())).flatten()
    }

    /// Returns the rule that is broken if the run may not have ended this way.
    fn judged(&self, state: JobState, run: Option<&WorkflowRun>) -> Option<Flaw> {
        let steps = || run.into_iter().flat_map(|run| &run.steps);
        let open = self.tables.tasks().any(|job| !job.state.is_final()) || steps().any(|step| !step.state.is_final());
        let well = run.is_some() && steps().all(|step| step.state == StepState::Succeeded);
        let failed = steps().any(|step| step.state == StepState::Failed);
        let right = match state {
            JobState::Succeeded => well,
            JobState::Failed => failed,
            _ => !well || self.tables.run().is_some_and(|run| run.tree.cancel_mode.is_some()),
        };
        if open || !right || usize::from(self.ends) != self.replies {
            return Some(Flaw::Misjudged);
        }
        let now = |needs: &[usize]| needs.iter().map(|needs| self.ended[*needs]).collect::<Vec<_>>();
        let outdated = |(at, step): (usize, &ork_core::workflow_run::RunStep)| self.given[at] != now(&step.needs);
        (well && steps().enumerate().any(outdated)).then_some(Flaw::Outdated)
    }

    /// A worker receives a message and claims its work, if that must still be done.
    pub(super) fn take(&mut self, config: &Config, worker: usize, msg: usize) {
        let msg = self.bag.remove(msg);
        let job = self.tables.jobs[&msg.job].clone();
        let claim = Claim {
            durable: msg.suspect,
            ..Claim::new(NewJob { job, input: Bytes::new() }, Phase::Start, msg.attempt, by(Some(worker)))
        };
        let activity = match self.change(config, Some(worker), &claim) {
            Claimed::Granted { job, .. } if job.id == id() => {
                let to_retry = job.workflow_run().map(|run| run.unsuccessful_jobs(job.id)).unwrap_or_default();
                Activity::Run { attempt: job.attempt, to_retry }
            }
            Claimed::Granted { job, .. } => Activity::Task { job: job.id, attempt: job.attempt },
            Claimed::Waiting | Claimed::RunningElsewhere(_) | Claimed::Stale | Claimed::NotFound => Activity::Idle,
        };
        let unacked = (activity != Activity::Idle).then_some(msg);
        self.workers[worker] = Worker { activity, unacked, ..std::mem::take(&mut self.workers[worker]) };
        if self.workers[worker].activity == Activity::Idle {
            self.end(worker);
        }
    }

    /// A worker takes its next step; `fails` if its task does.
    pub(super) fn advance(&mut self, config: &Config, worker: usize, fails: bool) {
        let activity = match self.workers[worker].activity.clone() {
            Activity::Idle => Activity::Idle,
            Activity::Done => return self.end(worker),
            Activity::Run { attempt, mut to_retry } if !to_retry.is_empty() => {
                let job = to_retry.remove(0);
                self.change(config, Some(worker), &Retry::new(job, by(Some(worker))));
                Activity::Run { attempt, to_retry }
            }
            Activity::Run { attempt, .. } => {
                let begin = StartWorkflow { job: id(), attempt, run: config.workflow_run(), actor: by(Some(worker)) };
                self.change(config, Some(worker), &begin);
                Activity::Done
            }
            Activity::Task { job, attempt } => {
                let how = if fails {
                    AttemptOutcome::Failed { failure: failure(), retry_at: None }
                } else {
                    AttemptOutcome::Succeeded
                };
                let output = (how == AttemptOutcome::Succeeded).then(|| Bytes::from_static(b"0"));
                let settle = Settle {
                    job,
                    phase: Phase::Start,
                    attempt,
                    outcome: how,
                    output,
                    permit: None,
                    actor: by(Some(worker)),
                };
                self.change(config, Some(worker), &settle);
                Activity::Done
            }
        };
        self.workers[worker].activity = activity;
    }

    /// A worker acknowledges its message.
    fn end(&mut self, worker: usize) {
        let ended = std::mem::take(&mut self.workers[worker]);
        self.bag.extend(ended.late);
    }

    /// A worker dies: its unacknowledged message is redelivered, unless that has already happened.
    pub(super) fn crash(&mut self, worker: usize) {
        let dead = std::mem::take(&mut self.workers[worker]);
        self.bag.extend(dead.unacked.filter(|_| !dead.stale).map(|msg| Msg { suspect: true, ..msg }));
    }

    /// The broker presumes a worker dead and redelivers its message to others, while it continues.
    pub(super) fn redeliver(&mut self, worker: usize) {
        self.workers[worker].stale = true;
        self.bag.extend(self.workers[worker].unacked.map(|msg| Msg { suspect: true, ..msg }));
    }

    /// A client retries the run, or one of its steps.
    pub(super) fn retry(&mut self, config: &Config, job: JobId) {
        self.change(config, None, &Retry::new(job, by(None)));
    }

    /// A client cancels the run, and then the jobs below it, one after the other.
    pub(super) fn cancel(&mut self, config: &Config, job: JobId) {
        let cancel = Cancel { job, mode: CancelMode::Immediate, from_ancestor: job != id(), actor: by(None) };
        self.change(config, None, &cancel);
    }

    /// The order of the messages has no consequence.
    pub(super) fn simplify(&mut self) {
        self.bag.sort_unstable();
    }
}
