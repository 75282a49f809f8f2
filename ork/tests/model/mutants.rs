//! Each mutant is caught: the model checker finds a consequence of every fault, in a world in which the unchanged code
//! holds.

use ork::Policy;

use super::config::{Config, Left, Mutant};
use super::explore::explore;
use super::worlds::{CALM, STOP, small};
use super::{proof, search};

/// Asserts that the mutant is caught in the smallest world in which it has a consequence.
fn caught(mutant: Mutant, left: Left, sizes: &'static [u64], policy: Policy, tries: u32) {
    caught_in(mutant, Config { left, sizes, policy, tries, page: 1, ..small() });
}

fn caught_in(mutant: Mutant, config: Config) {
    search::caught(mutant, &explore(config.clone(), 0), &explore(Config { mutant: Some(mutant), ..config }, 0));
}

#[test]
fn every_mutant_has_a_test() {
    let tests = include_str!("mutants.rs");
    for mutant in Mutant::ALL {
        let names = ["caught", "caught_in"].map(|name| format!("{name}(Mutant::{mutant:?},"));
        assert!(names.iter().any(|name| tests.contains(name)), "{mutant:?}");
    }
    proof::note("mutants", Mutant::ALL.len());
}

#[test]
fn counter_instead_of_the_set() {
    caught(Mutant::Counter, Left { duplicates: 1, ..CALM }, &[2], Policy::default(), 1);
}

#[test]
fn callback_outside_the_transaction() {
    caught(Mutant::CallbackOutside, Left { crashes: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn no_epoch() {
    caught(Mutant::NoEpoch, Left { crashes: 1, ..CALM }, &[2, 1], Policy::default(), 1);
}

#[test]
fn no_attempt_fence() {
    caught(Mutant::NoFence, Left { duplicates: 1, failures: 2, ..CALM }, &[1], Policy::default(), 2);
}

#[test]
fn acknowledgement_before_the_settlement() {
    caught(Mutant::AckFirst, Left { crashes: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn join_enqueued_twice() {
    caught(Mutant::JoinAgain, Left { duplicates: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn retry_of_all_parts() {
    caught(Mutant::RetryAll, Left { failures: 1, retries: 1, cancels: 1, ..CALM }, &[2], Policy::default(), 1);
}

#[test]
fn completion_without_a_seal() {
    caught(Mutant::NoSeal, CALM, &[2], Policy::default(), 1);
}

#[test]
fn lost_claim_that_is_not_repaired() {
    caught(Mutant::ClaimNeeded, Left { rollbacks: 1, failures: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn skipped_part_that_is_not_written() {
    let left = Left { rollbacks: 1, failures: 1, interrupts: 1, ..CALM };
    caught(Mutant::SkippedSoon, left, &[2], STOP, 1);
}

#[test]
fn retried_split_that_leaves_the_older_run_in_force() {
    let left = Left { cancels: 1, retries: 1, duplicates: 1, ..CALM };
    caught(Mutant::RetryUnfenced, left, &[1], Policy::default(), 1);
}

#[test]
fn superseded_split_that_is_acknowledged() {
    caught(Mutant::AcksSuperseded, Left { duplicates: 1, crashes: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn rejection_that_ignores_the_job_of_a_dead_process() {
    caught(Mutant::RefusedAlone, Left { crashes: 1, refusals: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn rejection_that_fails_the_job_of_a_living_process() {
    caught(Mutant::RefusedRunning, Left { duplicates: 1, refusals: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn long_work_acknowledged_without_a_lease() {
    caught(Mutant::Unleased, Left { leases: 1, crashes: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn lease_that_outlives_its_work() {
    caught(Mutant::LeaseKept, Left { leases: 1, ..CALM }, &[1], Policy::default(), 1);
}

/// Two parts, of which one runs at a time.
fn limited() -> Config {
    Config { permits: Some(1), sizes: &[2], page: 1, tries: 1, ..small() }
}

#[test]
fn settlement_that_keeps_its_permit() {
    caught_in(Mutant::PermitKept, limited());
}

#[test]
fn released_permit_that_wakes_no_row() {
    caught_in(Mutant::NoWake, limited());
}

#[test]
fn permits_of_other_processes_not_counted() {
    caught_in(Mutant::PermitsUncounted, limited());
}

#[test]
fn permits_kept_by_a_dead_process() {
    caught_in(Mutant::PermitsOfDead, Config { left: Left { crashes: 1, ..CALM }, sizes: &[1], ..limited() });
}

#[test]
fn parts_completed_published_before_the_last_part() {
    caught(Mutant::EventTooEarly, CALM, &[2], Policy::default(), 1);
}

#[test]
fn end_without_an_event() {
    caught(Mutant::EndWithoutEvent, CALM, &[1], Policy::default(), 1);
}

#[test]
fn claim_before_there_is_a_slot() {
    caught(Mutant::ClaimedEarly, Left { holds: 1, cancels: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn call_after_a_drain() {
    caught(Mutant::CalledAfterDrain, Left { holds: 1, drains: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn loss_for_each_delivery() {
    caught(Mutant::LossPerDelivery, Left { holds: 1, crashes: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn lost_message_that_is_never_missed() {
    caught(Mutant::LostUnnoticed, Left { losses: 1, ..CALM }, &[1], Policy::default(), 1);
}

#[test]
fn ended_parts_sent_again() {
    caught(Mutant::ResentAll, Left { losses: 1, ..CALM }, &[2], Policy::default(), 1);
}
