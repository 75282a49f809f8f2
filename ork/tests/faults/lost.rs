//! For every message `n` of a life without faults: the broker confirms it and loses it; then everything ends as if
//! nothing had happened, and each function is called once.
//!
//! Regression: the job used to wait for that message forever.

use std::sync::Arc;
use std::thread;

use ork::JobId;

use super::faulty::{Fault, Faults};
use super::hub::Hub;
use super::process::{Kind, Work, World};
use super::proof;

/// Loses each message in its own world, all at the same time: a loss is noticed only after minutes of a fast clock.
fn every(kind: Kind, work: Work) {
    let hub = Hub::in_order();
    lose(kind, work, &hub);
    let messages = hub.published();
    assert!(messages > 1, "{work:?} makes {messages} messages");
    thread::scope(|scope| {
        let worlds = (1..=messages).map(|nth| {
            thread::Builder::new().name(format!("message {nth} of {work:?}")).spawn_scoped(scope, move || {
                let hub = Hub::losing(nth);
                lose(kind, work, &hub);
                assert!(hub.published() > messages, "message {nth} of {messages} was not sent again");
            })
        });
        for world in worlds.collect::<Vec<_>>() {
            world.unwrap().join().unwrap();
        }
    });
    proof::note("lost_messages", messages);
}

fn lose(kind: Kind, work: Work, hub: &Arc<Hub>) {
    let (world, run) = (World::new(kind, Some(Arc::clone(hub))), JobId::new().to_string());
    world.life(work, &run, &Faults::at(0, Fault::Error));
    world.audit(work, &run, 1);
}

#[test]
fn job_survives_the_loss_of_each_of_its_messages() {
    for kind in [Kind::Memory, Kind::Sqlite] {
        every(kind, Work::Plain);
    }
}

#[test]
fn job_with_parts_survives_the_loss_of_each_of_its_messages() {
    every(Kind::Memory, Work::Parts(6));
    every(Kind::Sqlite, Work::DynamicSplit(3));
}

#[test]
fn tree_survives_the_loss_of_each_of_its_messages() {
    every(Kind::Memory, Work::Tree(8));
}

#[test]
fn workflow_run_survives_the_loss_of_each_of_its_messages() {
    every(Kind::Memory, Work::Run(3));
}

/// A process dies or gets an error while it detects a lost message and sends it again.
#[test]
#[ignore = "long: .ci/prove --long"]
fn lost_message_is_sent_again_by_the_next_process_after_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        super::crash::every_in(&|| World::new(Kind::Memory, Some(Hub::losing(1))), Work::Plain, fault, 1);
    }
}
