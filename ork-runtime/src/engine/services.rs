//! What a running task may ask of ork: the implementation behind its `Context`.

use std::sync::Arc;

use async_trait::async_trait;

use super::Engine;
use crate::accounting::{NewJob, Submit, Submitted};
use crate::broker::BrokerError;
use crate::context::{About, Child, Progress, Services};
use crate::id::JobId;
use crate::job::{Job, Kind};
use crate::message::{Ask, Message, Outgoing};
use crate::registry::Task;
use crate::task::Result;

#[async_trait]
impl Services for Engine {
    async fn submit(&self, about: &About, child: Child) -> Result<JobId> {
        let task = *self.registry.get(child.task)?;
        let mut job = new_job(self, &task, child.kind);
        job.root = about.root;
        job.parent = Some(about.job);
        let id = job.id;
        send(self, NewJob { job, input: child.body }).await?;
        Ok(id)
    }

    fn progress(&self, about: &About, progress: Progress) {
        // A part's own progress would overwrite that of the job, which is the share of its settled parts.
        if about.index.is_none() {
            self.reports.report(about.job, progress);
        }
    }
}

/// A new job of a task.
pub(crate) fn new_job(engine: &Engine, task: &Task, kind: Kind) -> Job {
    let mut job = Job::new(JobId::new(), task.name(), engine.clock.now());
    // Without a split both mean the same, and the message is simpler.
    job.kind = if task.split.is_some() { kind } else { Kind::Whole };
    job.priority = task.work.options.priority;
    job
}

/// Why a job could not be handed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Hands a job over: it is in the store, or confirmed by the broker, when this returns. Answers whether it is new.
pub(crate) async fn send(engine: &Engine, new: NewJob) -> Result<bool, SendError> {
    if engine.store.keeps() {
        return Ok(match engine.store.apply(Submit { new, by: engine.by() }).await? {
            Submitted::Created(owed) => {
                engine.outbox.send(owed).await;
                true
            }
            Submitted::Known => false,
        });
    }
    publish(engine, Outgoing::Work(first_message(new))).await?;
    Ok(true)
}

/// Hands many jobs over at once: in one transaction, or in one run of messages.
pub(crate) async fn send_all(engine: &Engine, new: Vec<NewJob>) -> Result<(), SendError> {
    if engine.store.keeps() {
        let submits = new.into_iter().map(|new| Submit { new, by: engine.by() }).collect();
        for submitted in engine.store.apply_all(submits).await? {
            if let Submitted::Created(owed) = submitted {
                engine.outbox.send(owed).await;
            }
        }
        return Ok(());
    }
    let messages = new.into_iter().map(|new| Outgoing::Work(first_message(new))).collect();
    Ok(engine.broker.publish(messages).await.into_iter().collect::<Result<(), _>>()?)
}

/// The first dispatch of a job that no store keeps.
fn first_message(new: NewJob) -> Message {
    let NewJob { job, input } = new;
    Message {
        job: job.id,
        root: job.root,
        parent: job.parent,
        task: job.task,
        ask: if job.kind == Kind::Item { Ask::Item } else { Ask::Whole },
        attempt: 1,
        priority: job.priority,
        lost: 0,
        body: input,
        reply: job.reply,
        hooks: job.hooks.map(|kept| Box::new(kept.hooks)),
    }
}

/// Publishes one message that no store keeps.
pub(crate) async fn publish(engine: &Engine, message: Outgoing) -> Result<(), BrokerError> {
    engine.broker.publish(vec![message]).await.into_iter().collect()
}

pub(super) fn about_job(job: &Job) -> About {
    About {
        job: job.id,
        root: job.root,
        task: job.task.clone(),
        attempt: job.counted_attempt(),
        index: None,
        count: None,
        deadline: None,
    }
}

pub(super) fn about_part(message: &Message, index: u64, count: Option<u64>) -> About {
    About {
        job: message.job,
        root: message.root,
        task: message.task.clone(),
        attempt: message.attempt,
        index: Some(index),
        count,
        deadline: None,
    }
}

/// The engine as a task sees it.
pub(super) fn of(engine: &Arc<Engine>) -> Arc<dyn Services> {
    Arc::<Engine>::clone(engine)
}
