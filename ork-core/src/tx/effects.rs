//! Effects: the consequences of a change of a job, as outbox rows of the job and as changes of the jobs above it.
//!
//! An ended job changes its parent, which may end with it, and may be a step of a workflow run, which then starts other
//! steps. The consequences form a stack: the consequences of an entry are carried out before the entries that already
//! wait, so that the outbox rows come in the order of cause and effect.

use std::sync::Arc;

use bytes::Bytes;

use super::ops::{NewJob, step_job};
use super::outbox::{NOT_HELD, NewRow, OutboxKind, OutboxRow};
use super::transaction::Transaction;
use super::types::{Actor, StoreNotice};
use crate::event::{Event, EventKind, EventRouting};
use crate::id::JobId;
use crate::job::workflow_run::WorkflowRun;
use crate::job::{Effect, Job, Phase, State};
use crate::message::Outgoing;

/// One entry of the work list.
enum Next {
    /// One effect of a job, with the job as it was when it changed, and the output of its attempt.
    Effect { job: Arc<Job>, effect: Effect, output: Option<Bytes> },
    /// Effects of a job above the one that has changed.
    Above { job: JobId, effects: Vec<Effect> },
    /// A step of this workflow run may have ended: other steps start, or the run ends.
    Advance(JobId),
}

impl Transaction {
    /// Carries out the effects of a change of a job. The input of the job is not loaded: its outbox row is taken from
    /// the store later, so that not all inputs are held in memory at once.
    pub(super) fn apply_effects(
        &mut self,
        job: &Arc<Job>,
        effects: Vec<Effect>,
        output: Option<&Bytes>,
        actor: &Actor,
    ) {
        let mut work = Vec::new();
        self.push_effects(&mut work, job, effects, output);
        self.drain(work, actor);
    }

    /// Starts the steps of a workflow run that can start, or ends the run if no step is open.
    pub(super) fn advance_workflow(&mut self, run: JobId, actor: &Actor) {
        self.drain(vec![Next::Advance(run)], actor);
    }

    /// Ends the wait of a job for its parts, if the last one is settled.
    pub(super) fn finish_parts(&mut self, id: JobId, actor: &Actor) {
        let Some(loaded) = self.get_mut(id) else { return };
        let Some(counts) = loaded.ledger.complete() else { return };
        let effects = loaded.job.on_parts_completed(loaded.ledger.head(), counts, actor.now);
        loaded.dirty = true;
        let job = Arc::new(loaded.job.clone());
        self.apply_effects(&job, effects, None, actor);
    }

    /// Creates a job and enqueues its first message.
    pub(super) fn submit(&mut self, NewJob { job, input }: &NewJob, actor: &Actor) {
        self.create(job.clone(), input.clone());
        let with_message = matches!(actor.events, EventRouting::Outbox(_));
        if !with_message {
            self.emit(job, EventKind::Created, actor);
        }
        // The event travels in the row of the first message, before it.
        let created = with_message.then(|| Event::of(job, EventKind::Created, 0, actor.now));
        let messages = |row: &OutboxRow| {
            let event = created.map(|event| Outgoing::Event(event.into()));
            event.into_iter().chain([row.work(job, input.clone())]).collect()
        };
        self.enqueue(job, NewRow::new(OutboxKind::Start, job.attempt), actor, Some(messages));
    }

    /// Pushes effects to the work list in reverse order, because it is a stack.
    fn push_effects(&mut self, work: &mut Vec<Next>, job: &Arc<Job>, effects: Vec<Effect>, output: Option<&Bytes>) {
        if job.own_work_ended() {
            self.notify(StoreNotice::JobEnded(job.id));
        }
        let next = |effect| Next::Effect { job: Arc::clone(job), effect, output: output.cloned() };
        work.extend(effects.into_iter().rev().map(next));
    }

    fn drain(&mut self, mut work: Vec<Next>, actor: &Actor) {
        while let Some(next) = work.pop() {
            match next {
                Next::Effect { job, effect: Effect::Ended, .. } => self.end_above(&mut work, &job, actor),
                Next::Effect { job, effect: Effect::Reopened { was }, .. } => self.reopen_above(&mut work, &job, was),
                Next::Effect { job, effect, output } => self.apply_effect(&job, &effect, output.as_ref(), actor),
                Next::Above { job, effects } => {
                    if let Some(loaded) = self.get(job)
                        && (!effects.is_empty() || loaded.job.state.is_final())
                    {
                        let job = Arc::new(loaded.job.clone());
                        self.push_effects(&mut work, &job, effects, None);
                    }
                }
                Next::Advance(run) => self.start_steps(&mut work, run, actor),
            }
        }
    }

    /// Carries out an effect that concerns only the job itself.
    fn apply_effect(&mut self, job: &Job, effect: &Effect, output: Option<&Bytes>, actor: &Actor) {
        match *effect {
            Effect::Dispatch { phase, attempt, due } => {
                let new = NewRow { kind: OutboxKind::of_phase(phase), attempt, due };
                match phase {
                    // Any process may send the row as soon as it is due, but not before the row's event is published.
                    _ if due.is_some() && actor.hold && matches!(actor.events, EventRouting::Outbox(_)) => {
                        self.enqueue_after_events(job, new, actor);
                    }
                    Phase::Join => {
                        let messages = |row: &OutboxRow| vec![row.work(job, Bytes::new())];
                        self.enqueue(job, new, actor, Some(messages));
                    }
                    Phase::Start => self.enqueue(job, new, actor, NOT_HELD),
                }
            }
            Effect::Reply => {
                let new = NewRow::new(OutboxKind::Reply, job.attempt);
                // An output that an earlier transaction has written is read from the store.
                if output.is_none() && self.may_have_output(job) {
                    return self.enqueue(job, new, actor, NOT_HELD);
                }
                self.enqueue(job, new, actor, Some(|_: &OutboxRow| OutboxRow::replies(job, output)));
            }
            Effect::Hooks(mask) => {
                let new = NewRow::new(OutboxKind::Hooks { mask }, job.attempt);
                self.enqueue(job, new, actor, Some(|_: &OutboxRow| vec![OutboxRow::hooks(job, mask)]));
            }
            Effect::Emit(kind) => self.emit(job, kind, actor),
            // Effects on the jobs above are handled in `drain`.
            Effect::Ended | Effect::Reopened { .. } => {}
        }
    }

    /// Whether the output of a job may have been written by an earlier transaction, because the job has then waited for
    /// its children or parts.
    fn may_have_output(&self, job: &Job) -> bool {
        job.tree.verdict.is_some() || self.get(job.id).is_some_and(|loaded| loaded.ledger.head().epoch > 0)
    }

    /// Handles the end of a job: its ancestors count it, its followers are released, and its parent may end or
    /// continue.
    fn end_above(&mut self, work: &mut Vec<Next>, job: &Job, actor: &Actor) {
        if job.tree.has_followers {
            self.release_followers(job.id);
        }
        for above in self.ancestors(job) {
            self.update_job(above, |job| job.tree.descendants_ended += 1);
        }
        let Some(parent) = job.parent else { return };
        let effects = self.update_job(parent, |parent| {
            if let (Some(at), Some(run)) = (step_index(parent, job), parent.workflow_run_mut()) {
                run.ended(at, job.state, job.failure.as_ref());
            }
            parent.child_ended(job.state, actor.now)
        });
        work.push(Next::Advance(parent));
        work.push(Next::Above { job: parent, effects });
    }

    /// Handles a job that had ended and is open again: its ancestors no longer count it as ended, and may be open again
    /// themselves.
    fn reopen_above(&mut self, work: &mut Vec<Next>, job: &Job, was: State) {
        for above in self.ancestors(job) {
            self.update_job(above, |job| job.tree.descendants_ended = job.tree.descendants_ended.saturating_sub(1));
        }
        let Some(parent) = job.parent else { return };
        let effects = self.update_job(parent, |parent| {
            if let (Some(at), Some(run)) = (step_index(parent, job), parent.workflow_run_mut()) {
                run.reopened(at);
            }
            parent.child_reopened(was)
        });
        work.push(Next::Above { job: parent, effects });
    }

    /// Starts the steps of a workflow run whose needs have ended. If no step is open any more, the run ends.
    fn start_steps(&mut self, work: &mut Vec<Next>, run: JobId, actor: &Actor) {
        if self.get(run).is_none_or(|loaded| loaded.job.workflow_run().is_none()) {
            return;
        }
        let ready = self.update_job(run, |job| {
            let step = |run: &WorkflowRun, at: usize| run.steps.get(at).map(|step| (at, step.clone()));
            let ready = job.start_ready_steps();
            job.workflow_run()
                .map(|run| ready.iter().filter_map(|at| step(run, *at)).collect::<Vec<_>>())
                .unwrap_or_default()
        });
        for (at, step) in ready {
            let Some(job) = self.get(run).map(|loaded| step_job(&loaded.job, at, step, actor)) else { continue };
            self.submit(&NewJob { job, input: Bytes::from_static(b"null") }, actor);
        }
        let effects = self.update_job(run, |job| job.end_workflow(actor.now));
        work.push(Next::Above { job: run, effects });
    }
}

/// Returns the index of the step for which a job runs, if the workflow run still counts this job for that step.
fn step_index(run: &Job, job: &Job) -> Option<usize> {
    run.counted(job).filter(|(_, counts)| *counts == job.id).map(|(at, _)| at)
}
