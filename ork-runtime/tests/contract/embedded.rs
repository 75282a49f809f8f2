//! The same cases over the embedded broker, which takes the outbox of a store: messages get in as submitted jobs.

use std::sync::Arc;

use ork::WorkerId;
use ork::accounting::{By, NewJob, Submit};
use ork::broker::embedded::Embedded;
use ork::clock::{Clock, system::SystemClock};
use ork::job::{Job, Kind};
use ork::message::{Ask, Message};
use ork::store::{Store, memory::Memory};

use crate::broker::{self, World};

fn world(store: Arc<dyn Store>) -> World {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let worker = WorkerId::new("embedded");
    let broker = Embedded::new(Arc::clone(&store), Arc::clone(&clock), worker.clone());
    let publish = move |messages: Vec<Message>| -> futures_util::future::BoxFuture<'static, ()> {
        let (store, by) = (
            Arc::clone(&store),
            By { worker: worker.clone(), now: clock.now(), hold: false, tells: ork::event::Telling::Nothing },
        );
        Box::pin(async move {
            for message in messages {
                store.apply(Submit::new(job_of(message), by.clone())).await.unwrap();
            }
        })
    };
    World { broker: Arc::new(broker), publish: Arc::new(publish) }
}

fn job_of(message: Message) -> NewJob {
    let Message { job, root, parent, task, ask, priority, body, reply, .. } = message;
    let mut new = Job::new(job, task, SystemClock.now());
    (new.root, new.parent, new.priority, new.reply) = (root, parent, priority, reply);
    new.kind = if ask == Ask::Item { Kind::Item } else { Kind::Whole };
    NewJob { job: new, input: body }
}

macro_rules! over_embedded {
    ($($case:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                broker::$case(world(Arc::new(Memory::new()))).await;
            })*
        }
        #[cfg(feature = "sqlite")]
        mod sqlite {
            use super::*;
            use ork::store::sqlite::{Sqlite, Synchronous};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                let store = Arc::new(Sqlite::open(&folder.path().join("ork.db"), Synchronous::Full).unwrap());
                broker::$case(world(Arc::<Sqlite>::clone(&store))).await;
                store.close().await;
            })*
        }
    };
}

// Parts and joins get into the outbox by way of a split, so that `published_messages_arrive_intact` cannot publish them.
over_embedded!(
    a_released_one_comes_again_at_once,
    a_dropped_receipt_is_a_release,
    what_is_acknowledged_never_comes_again,
    is_empty,
    a_flood_arrives_whole,
    the_window_limits_unsettled_deliveries,
    another_window_keeps_the_receipts_good,
    a_slow_delivery_does_not_hold_back_later_ones,
    stopping_gives_back_what_was_not_handed_out,
    dropping_a_subscription_gives_back_what_it_held,
    two_consumers_share_a_queue,
    a_dead_one_does_not_come_again,
);
