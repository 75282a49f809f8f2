//! For every port call `k` of a life without faults: the process dies after it, or it fails; then everything ends as
//! if nothing had happened.

use std::sync::Arc;

use ork::JobId;

use super::faulty::{Fault, Faults};
use super::hub::Hub;
use super::process::{Kind, Work, World, count};
use super::proof;
use super::slow::SlowStore;

/// The number of calls varies between lives, because concurrent calls come in any order. After this many lives in a row
/// that ended before their fault, there is no later call.
const MISSED: usize = 3;

/// Lets every `step`th call fail.
fn every(kind: Kind, relayed: bool, work: Work, fault: Fault, step: usize) {
    every_in(&|| World::new(kind, relayed.then(Hub::in_order)), work, fault, step);
}

/// Does so in a world that `world` creates.
pub(super) fn every_in(world: &dyn Fn() -> World, work: Work, fault: Fault, step: usize) {
    let calls = count(&world(), work, &JobId::new().to_string());
    assert!(calls > 5, "only {calls} calls");
    let (mut points, mut missed) = (0, 0);
    for k in (1..).step_by(step) {
        let (world, run) = (world(), JobId::new().to_string());
        let faults = Faults::at(k, fault);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.life(work, &run, &faults);
            world.life(work, &run, &Faults::at(0, Fault::Error));
            world.audit(work, &run, 2);
        }));
        if let Err(panic) = result {
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
const DYNAMIC_SPLIT: Work = Work::DynamicSplit(3);
const TREE: Work = Work::Tree(12);
const RUN: Work = Work::Run(5);

#[test]
fn plain_job_survives_every_crash() {
    for (kind, relayed) in [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, false), (Kind::Sqlite, true)] {
        every(kind, relayed, Work::Plain, Fault::Crash, 1);
    }
}

#[test]
fn plain_job_survives_every_error() {
    for (kind, relayed) in [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, false), (Kind::Sqlite, true)] {
        every(kind, relayed, Work::Plain, Fault::Error, 1);
    }
}

#[test]
fn hooks_of_a_job_survive_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        for (kind, relayed) in [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, true)] {
            every(kind, relayed, Work::Hooked, fault, 1);
        }
    }
}

#[test]
fn job_with_parts_survives_crashes() {
    every(Kind::Memory, false, MANY, Fault::Crash, 3);
    every(Kind::Memory, true, MANY, Fault::Crash, 5);
}

#[test]
fn job_with_parts_survives_errors() {
    every(Kind::Memory, false, MANY, Fault::Error, 3);
    every(Kind::Memory, true, MANY, Fault::Error, 5);
}

/// Permits end with their process, and work that waited for one still runs.
#[test]
fn limited_job_survives_crashes_and_errors() {
    for fault in [Fault::Crash, Fault::Error] {
        every(Kind::Memory, false, LIMITED, fault, 5);
        every(Kind::Memory, true, LIMITED, fault, 7);
        every(Kind::Sqlite, true, LIMITED, fault, 15);
    }
}

/// No job of a tree is lost, duplicated or counted twice, and its follower runs after the whole tree.
#[test]
fn tree_survives_crashes_and_errors() {
    for fault in [Fault::Crash, Fault::Error] {
        every(Kind::Memory, false, TREE, fault, 1);
        every(Kind::Memory, true, TREE, fault, 2);
        every(Kind::Sqlite, true, TREE, fault, 5);
    }
}

/// A job that follows two starts once both have ended, whichever call is the last one of a process.
#[test]
fn follower_of_two_jobs_survives_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        for (kind, relayed) in
            [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, false), (Kind::Sqlite, true)]
        {
            every(kind, relayed, Work::AfterTwo, fault, 1);
        }
    }
}

/// Each step of a run starts once, after the steps that it needs, and the run ends once.
#[test]
fn workflow_run_survives_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        every(Kind::Memory, false, RUN, fault, 1);
        every(Kind::Memory, true, RUN, fault, 2);
        every(Kind::Sqlite, true, RUN, fault, 5);
    }
}

/// The function that splits its job runs again, and its last run determines the parts.
#[test]
fn dynamic_split_survives_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        for (kind, relayed) in
            [(Kind::Memory, false), (Kind::Memory, true), (Kind::Sqlite, false), (Kind::Sqlite, true)]
        {
            every(kind, relayed, DYNAMIC_SPLIT, fault, 1);
        }
    }
}

#[test]
fn large_outputs_survive_every_crash_and_error() {
    for fault in [Fault::Crash, Fault::Error] {
        for kind in [Kind::Memory, Kind::Sqlite] {
            every_in(&|| World::new(kind, Some(Hub::in_order())).with_shelf(), Work::Plain, fault, 1);
        }
        every_in(&|| World::new(Kind::Memory, None).with_shelf(), MANY, fault, 7);
    }
}

#[test]
#[ignore = "long: .ci/prove --long"]
fn job_with_parts_survives_every_crash_and_error() {
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
fn broker_that_delivers_everything_twice_and_in_any_order_changes_nothing() {
    for seed in 0..10 {
        let (world, run) = (World::new(Kind::Memory, Some(Hub::shuffled(seed))), JobId::new().to_string());
        let calls = count(&world, Work::Parts(50), &run);
        assert!(calls > 50, "seed {seed}: {calls}");
        count(&World::new(Kind::Memory, Some(Hub::shuffled(seed))), Work::DynamicSplit(50), &JobId::new().to_string());
        // Objects that a row refers to are not overwritten either: the object store would notice.
        let world = World::new(Kind::Memory, Some(Hub::shuffled(seed))).with_shelf();
        count(&world, Work::Parts(50), &JobId::new().to_string());
    }
}

#[test]
fn store_that_reports_results_late_and_out_of_order_changes_nothing() {
    for seed in 0..10 {
        let hub = (seed % 2 == 0).then(|| Hub::shuffled(seed));
        let world = World::new(Kind::Memory, hub).through(|store| Arc::new(SlowStore::new(store, seed)));
        count(&world, Work::Parts(50), &JobId::new().to_string());
    }
}
