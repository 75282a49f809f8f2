//! The cases of [`broker`] over the embedded broker. It reads the outbox of a store, so a case publishes by submitting
//! jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ork::{Failure, FailureKind, Timestamp, WorkerId};
use ork_core::clock::{Clock, Pause};
use ork_core::job::{AttemptOutcome, Job, JobKind, Phase};
use ork_core::message::{Message, WorkKind};
use ork_core::tx::{Actor, Claim, NewJob, Settle, Submit};
use ork_ports::broker::{Broker as _, Disposition};
use ork_ports::store::Store;
use ork_runtime::broker::embedded::Embedded;
use ork_runtime::clock::system::SystemClock;
use ork_runtime::runtime::system::TokioRuntime;
use ork_runtime::store::memory::Memory;
use tokio::sync::watch;

use crate::cases::{self, World, next, numbered, queue};

fn world(store: Arc<dyn Store>) -> World {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let worker = WorkerId::new("embedded");
    let broker = Embedded::new(Arc::clone(&store), Arc::clone(&clock), Arc::new(TokioRuntime), worker.clone());
    let publish = move |messages: Vec<Message>| -> futures_util::future::BoxFuture<'static, ()> {
        let (store, by) = (
            Arc::clone(&store),
            Actor { worker: worker.clone(), now: clock.now(), hold: false, events: ork_core::event::EventRouting::Off },
        );
        Box::pin(async move {
            for message in messages {
                drop(store.apply(Submit::new(job_of(message), by.clone())).await.unwrap());
            }
        })
    };
    World { broker: Arc::new(broker), publish: Arc::new(publish) }
}

fn job_of(message: Message) -> NewJob {
    let Message { job, root, parent, task, kind: work_kind, priority, body, reply, .. } = message;
    let mut new = Job::new(job, task, SystemClock.now());
    (new.root, new.parent, new.priority, new.reply) = (root, parent, priority, reply);
    new.kind = if work_kind == WorkKind::Single { JobKind::Single } else { JobKind::Job };
    NewJob { job: new, input: body }
}

/// A clock that the test sets, and that counts how often a timer waits for a moment.
#[derive(Debug)]
struct Set {
    now: watch::Sender<i64>,
    waits: Arc<AtomicUsize>,
}

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(*self.now.borrow())
    }

    fn pause(&self, duration: Duration) -> Pause {
        self.pause_until(self.now() + duration)
    }

    fn pause_until(&self, moment: Timestamp) -> Pause {
        self.waits.fetch_add(1, Ordering::SeqCst);
        let mut now = self.now.subscribe();
        Box::pin(async move {
            now.wait_for(|now| *now >= moment.as_millis()).await.unwrap();
            tokio::task::yield_now().await;
        })
    }
}

/// Regression: the broker read the clock in an endless loop while a row was due and the window was full.
#[tokio::test]
async fn due_row_waits_for_a_full_window_without_busy_looping() {
    const DUE: i64 = 10;
    let (now, _) = watch::channel(0);
    let waits = Arc::new(AtomicUsize::new(0));
    let clock: Arc<dyn Clock> = Arc::new(Set { now: now.clone(), waits: Arc::clone(&waits) });
    let (store, worker): (Arc<dyn Store>, _) = (Arc::new(Memory::new()), WorkerId::new("embedded"));
    let by =
        Actor { worker: worker.clone(), now: clock.now(), hold: false, events: ork_core::event::EventRouting::Off };
    let (late, other) = (job_of(numbered(0)), job_of(numbered(1)));
    let id = late.job.id;
    drop(store.apply(Submit::new(late.clone(), by.clone())).await.unwrap());
    let (phase, attempt) = (Phase::Start, 1);
    let claim = Claim::new(late, phase, attempt, by.clone());
    drop(store.apply(claim).await.unwrap());
    let failure = Failure::new(FailureKind::Task, "not yet");
    let how = AttemptOutcome::Failed { failure, retry_at: Some(Timestamp::from_millis(DUE)) };
    drop(
        store
            .apply(Settle { job: id, phase, attempt, outcome: how, output: None, permit: None, actor: by.clone() })
            .await
            .unwrap(),
    );
    drop(store.apply(Submit::new(other, by)).await.unwrap());

    let broker = Embedded::new(store, clock, Arc::new(TokioRuntime), worker);
    let mut subscription = broker.subscribe(queue(1)).await.unwrap();
    let held = next(&mut subscription).await;
    let before = waits.load(Ordering::SeqCst);
    now.send_replace(DUE);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(waits.load(Ordering::SeqCst) <= before + 1, "{waits:?}");
    held.acker.settle(Disposition::Ack);
    // The other job, and the second attempt of the delayed one.
    for _ in 0..2 {
        next(&mut subscription).await.acker.settle(Disposition::Ack);
    }
    subscription.stop().await;
    broker.close().await;
}

macro_rules! over_embedded {
    ($($case:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                cases::$case(world(Arc::new(Memory::new()))).await;
            })*
        }
        #[cfg(feature = "sqlite")]
        mod sqlite {
            use super::*;
            use ork_sqlite::{Sqlite, Synchronous};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                let store = Arc::new(Sqlite::open(&folder.path().join("ork.db"), Synchronous::Full).unwrap());
                cases::$case(world(Arc::<Sqlite>::clone(&store))).await;
                store.close().await;
            })*
        }
    };
}

// `published_messages_arrive_intact` is left out: it publishes parts and joins, which only a split adds to the outbox.
over_embedded!(
    requeued_message_is_redelivered_at_once,
    dropping_an_acker_requeues_the_message,
    acknowledged_messages_are_never_redelivered,
    is_empty,
    a_flood_of_messages_arrives_completely,
    the_window_limits_unsettled_deliveries,
    resizing_the_window_keeps_ackers_valid,
    a_slow_delivery_does_not_hold_back_later_ones,
    stopping_requeues_messages_not_handed_out,
    dropping_a_subscription_requeues_its_messages,
    two_consumers_share_a_queue,
    dead_lettered_message_is_not_redelivered,
);
