//! For every call `k` of a happy life: the process dies after it, or it fails; then all ends as if nothing had happened.

use std::sync::Arc;

use ork::JobId;

use super::faulty::{Fault, Faults};
use super::hub::Hub;
use super::process::{Kind, Work, World, count};
use super::proof;
use super::slow::SlowStore;

/// A life makes more calls or fewer, as what it does at once it does in another order; after so many that ended before
/// their fault, there is no later call.
const MISSED: usize = 3;

/// Tries every `step`th call.
fn every(kind: Kind, relayed: bool, work: Work, fault: Fault, step: usize) {
    every_in(&|| World::new(kind, relayed.then(Hub::tame)), work, fault, step);
}

/// The same in a world made like this.
pub(super) fn every_in(world: &dyn Fn() -> World, work: Work, fault: Fault, step: usize) {
    let calls = count(&world(), work, &JobId::new().to_string());
    assert!(calls > 5, "only {calls} calls");
    let (mut points, mut missed) = (0, 0);
    for k in (1..).step_by(step) {
        let (world, run) = (world(), JobId::new().to_string());
        let faults = Faults::at(k, fault);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.life(work, &run, &faults);
            world.life(work, &run, &Faults::at(0, Fault::Error));
            world.audit(work, &run, 2);
        }));
        if let Err(panic) = told {
            eprintln!("{fault:?} at call {k} of {calls}: {work:?} over {world:?}");
            std::panic::resume_unwind(panic);
        }
        if faults.calls() >= k {
            (points, missed) = (points + 1, 0);
        } else {
            missed += 1;
        }
        if missed == MISSED {
            break;
        }
    }
    assert!(points * step > 5, "only {points} calls were met");
    println!("{fault:?}, {work:?}, {:?}: {points} points of {calls} calls", world());
    proof::note("crash_points", points);
}

const MANY: Work = Work::Parts(20);
const LIMITED: Work = Work::Limited(20);
const ITSELF: Work = Work::Itself(3);
const TREE: Work = Work::Tree(12);
const RUN: Work = Work::Run(5);

#[test]
fn a_plain_job_outlives_every_crash() {
    for (kind, relayed) in [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, false), (Kind::Sqlite, true)] {
        every(kind, relayed, Work::Plain, Fault::Crash, 1);
    }
}

#[test]
fn a_plain_job_outlives_every_error() {
    for (kind, relayed) in [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, false), (Kind::Sqlite, true)] {
        every(kind, relayed, Work::Plain, Fault::Error, 1);
    }
}

#[test]
fn what_follows_a_job_outlives_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        for (kind, relayed) in [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, true)] {
            every(kind, relayed, Work::Hooked, fault, 1);
        }
    }
}

#[test]
fn a_job_with_parts_outlives_crashes() {
    every(Kind::Memory, false, MANY, Fault::Crash, 3);
    every(Kind::Memory, true, MANY, Fault::Crash, 5);
}

#[test]
fn a_job_with_parts_outlives_errors() {
    every(Kind::Memory, false, MANY, Fault::Error, 3);
    every(Kind::Memory, true, MANY, Fault::Error, 5);
}

/// Permits end with their process, and what waited for one is not forgotten.
#[test]
fn a_limited_job_outlives_crashes_and_errors() {
    for fault in [Fault::Crash, Fault::Error] {
        every(Kind::Memory, false, LIMITED, fault, 5);
        every(Kind::Memory, true, LIMITED, fault, 7);
        every(Kind::Sqlite, true, LIMITED, fault, 15);
    }
}

/// No job of a tree is lost or there twice, none is counted twice, and what follows comes after all of it.
#[test]
fn a_tree_outlives_crashes_and_errors() {
    for fault in [Fault::Crash, Fault::Error] {
        every(Kind::Memory, false, TREE, fault, 1);
        every(Kind::Memory, true, TREE, fault, 2);
        every(Kind::Sqlite, true, TREE, fault, 5);
    }
}

/// A job that follows two begins once both have ended, whichever call is the last one of a process.
#[test]
fn a_job_that_follows_two_outlives_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        for (kind, relayed) in
            [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, false), (Kind::Sqlite, true)]
        {
            every(kind, relayed, Work::AfterTwo, fault, 1);
        }
    }
}

/// Each task of a run follows those that it needs once, and the run ends once.
#[test]
fn a_run_of_a_workflow_outlives_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        every(Kind::Memory, false, RUN, fault, 1);
        every(Kind::Memory, true, RUN, fault, 2);
        every(Kind::Sqlite, true, RUN, fault, 5);
    }
}

/// The function that splits its job is run again, and its last run says which parts there are.
#[test]
fn a_job_that_splits_itself_outlives_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        for (kind, relayed) in
            [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, false), (Kind::Sqlite, true)]
        {
            every(kind, relayed, ITSELF, fault, 1);
        }
    }
}

#[test]
fn large_outputs_outlive_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        for kind in [Kind::Memory, Kind::Sqlite] {
            every_in(&|| World::new(kind, Some(Hub::tame())).with_shelf(), Work::Plain, fault, 1);
        }
        every_in(&|| World::new(Kind::Memory, None).with_shelf(), MANY, fault, 7);
    }
}

#[test]
#[ignore = "long: .ci/prove --long"]
fn a_job_with_parts_outlives_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        for (kind, relayed) in
            [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, false), (Kind::Sqlite, true)]
        {
            every(kind, relayed, MANY, fault, 1);
            every(kind, relayed, LIMITED, fault, 2);
        }
    }
}

#[test]
fn a_broker_that_delivers_all_twice_and_in_any_order_changes_nothing() {
    for seed in 0..10 {
        let (world, run) = (World::new(Kind::Memory, Some(Hub::wild(seed))), JobId::new().to_string());
        let calls = count(&world, Work::Parts(50), &run);
        assert!(calls > 50, "seed {seed}: {calls}");
        count(&World::new(Kind::Memory, Some(Hub::wild(seed))), Work::Itself(50), &JobId::new().to_string());
        // Nor are objects that are referred to written over: the shelf would notice.
        let world = World::new(Kind::Memory, Some(Hub::wild(seed))).with_shelf();
        count(&world, Work::Parts(50), &JobId::new().to_string());
    }
}

#[test]
fn a_store_that_answers_late_and_in_another_order_changes_nothing() {
    for seed in 0..10 {
        let hub = (seed % 2 == 0).then(|| Hub::wild(seed));
        let world = World::new(Kind::Memory, hub).through(|store| Arc::new(SlowStore::new(store, seed)));
        count(&world, Work::Parts(50), &JobId::new().to_string());
    }
}
