//! The worlds that every test run explores completely, and the large ones.

use ork::{OnError, Policy, Tolerate};

use super::config::{Config, Left};
use super::explore::explore;
use super::proof;
use super::rules::TRIES;

/// Nothing goes wrong.
pub(crate) const CALM: Left = Left {
    crashes: 0,
    duplicates: 0,
    rollbacks: 0,
    cancels: 0,
    retries: 0,
    interrupts: 0,
    failures: 0,
    refusals: 0,
    leases: 0,
    expiries: 0,
    parks: 0,
    holds: 0,
    drains: 0,
    losses: 0,
};

pub(crate) const STOP: Policy = Policy { on_error: OnError::Stop, tolerate: Tolerate::Count(0) };

/// Two workers and two parts, or three when the split is run again.
pub(crate) fn small() -> Config {
    Config {
        workers: 2,
        sizes: &[2, 3],
        page: 2,
        tries: TRIES,
        policy: Policy::default(),
        has_join: true,
        plain: false,
        foreign: false,
        lazy: false,
        permits: None,
        left: CALM,
        mutant: None,
    }
}

#[track_caller]
pub(crate) fn holds(name: &str, config: Config, most: usize) {
    let found = explore(config, most);
    if let Some((property, path)) = found.broken {
        panic!("{name}: violated: {property}:\n  {path}");
    }
    println!("{name}: {} states", found.states);
    proof::note("states", found.states);
}

#[test]
fn worker_dies_between_any_two_steps() {
    holds("crash", Config { left: Left { crashes: 2, ..CALM }, ..small() }, 0);
}

#[test]
fn messages_are_duplicated_and_zombies_continue() {
    holds("duplicates", Config { left: Left { duplicates: 2, ..CALM }, sizes: &[1, 2], ..small() }, 0);
}

/// Its connection is lost, so the broker redelivers its work to another worker; after that, it has to stop.
#[test]
fn zombie_requeues_work_that_another_worker_runs() {
    let left = Left { duplicates: 1, interrupts: 1, ..CALM };
    holds("zombies that stop", Config { left, sizes: &[1, 2], ..small() }, 0);
}

#[test]
fn parts_and_joins_fail_and_are_retried() {
    holds("failures", Config { left: Left { failures: 3, ..CALM }, ..small() }, 0);
}

#[test]
fn parts_fail_while_zombies_continue() {
    holds(
        "failures of zombies",
        Config { left: Left { failures: 2, duplicates: 1, ..CALM }, sizes: &[1], ..small() },
        0,
    );
}

/// Workers of two versions: a worker that the input does not fit parks it for a later attempt.
#[test]
fn input_for_another_version_is_parked() {
    holds("parked", Config { left: Left { parks: 2, crashes: 1, failures: 1, ..CALM }, ..small() }, 0);
    let left = Left { parks: 1, crashes: 1, cancels: 1, retries: 1, ..CALM };
    holds("parked and cancelled", Config { left, page: 1, sizes: &[2], tries: 1, ..small() }, 0);
    let left = Left { parks: 1, duplicates: 1, interrupts: 1, ..CALM };
    holds("parked by zombies", Config { left, sizes: &[1, 2], ..small() }, 0);
}

#[test]
fn first_failure_stops_the_other_parts() {
    let left = Left { failures: 1, interrupts: 1, crashes: 1, ..CALM };
    holds("stop", Config { left, policy: STOP, page: 1, tries: 1, sizes: &[2, 1], ..small() }, 0);
}

#[test]
fn client_cancels_and_retries() {
    let left = Left { cancels: 1, retries: 1, ..CALM };
    holds("cancel and retry", Config { left, page: 1, ..small() }, 0);
}

#[test]
fn client_retries_a_failed_job() {
    let left = Left { failures: 2, retries: 1, ..CALM };
    holds("retry", Config { left, sizes: &[2], ..small() }, 0);
}

#[test]
fn client_cancels_and_retries_while_zombies_continue() {
    let left = Left { cancels: 1, retries: 1, duplicates: 1, ..CALM };
    holds("cancel and retry of zombies", Config { left, page: 1, tries: 1, sizes: &[1, 2], ..small() }, 0);
}

/// A message that a worker holds without a slot is claimed once it has one.
#[test]
fn messages_wait_for_a_slot_while_jobs_are_cancelled_and_workers_drain() {
    let left = Left { holds: 2, drains: 1, cancels: 1, ..CALM };
    holds("held", Config { left, page: 1, sizes: &[2], ..small() }, 0);
    let left = Left { holds: 2, drains: 1, crashes: 2, ..CALM };
    holds("held and lost", Config { left, sizes: &[1, 2], ..small() }, 0);
    let left = Left { holds: 2, duplicates: 1, crashes: 1, ..CALM };
    holds("held by zombies", Config { left, sizes: &[1], ..small() }, 0);
}

/// The broker confirms a message and loses it.
#[test]
fn messages_are_lost_and_sent_again() {
    let left = Left { losses: 2, crashes: 1, ..CALM };
    holds("lost", Config { left, sizes: &[2, 1], ..small() }, 0);
    let left = Left { losses: 1, failures: 1, cancels: 1, retries: 1, ..CALM };
    holds("lost and cancelled", Config { left, page: 1, sizes: &[2], ..small() }, 0);
}

#[test]
fn writes_confirmed_early_are_lost() {
    let left = Left { rollbacks: 1, interrupts: 1, ..CALM };
    holds("forgotten", Config { left, ..small() }, 0);
}

#[test]
fn writes_confirmed_early_are_lost_after_a_stop() {
    let left = Left { rollbacks: 1, failures: 1, interrupts: 1, ..CALM };
    holds("forgotten after a stop", Config { left, policy: STOP, tries: 1, sizes: &[2], ..small() }, 0);
}

#[test]
fn message_arrives_before_its_job_is_known() {
    let left = Left { rollbacks: 1, crashes: 1, failures: 1, ..CALM };
    holds("foreign", Config { left, foreign: true, sizes: &[1], ..small() }, 0);
    holds("foreign and plain", Config { left, foreign: true, plain: true, workers: 3, ..small() }, 0);
}

#[test]
fn worker_rejects_unknown_tasks() {
    let left = Left { refusals: 2, retries: 1, ..CALM };
    holds("refusals", Config { left, ..small() }, 0);
}

#[test]
fn worker_rejects_messages_redelivered_from_dead_workers_and_zombies() {
    let left = Left { refusals: 2, crashes: 1, duplicates: 1, ..CALM };
    holds("refusals after deaths", Config { left, sizes: &[1], ..small() }, 0);
    holds("refusals of plain jobs", Config { left, plain: true, workers: 3, ..small() }, 0);
}

#[test]
fn split_yields_no_parts() {
    let left = Left { crashes: 1, cancels: 1, retries: 1, failures: 1, ..CALM };
    holds("no parts", Config { left, sizes: &[0, 1], ..small() }, 0);
}

#[test]
fn plain_job_has_no_parts() {
    let left = Left { crashes: 1, duplicates: 1, cancels: 1, retries: 1, failures: 1, rollbacks: 1, ..CALM };
    holds("plain", Config { left, plain: true, ..small() }, 0);
}

#[test]
fn parts_without_a_join_decide_the_outcome() {
    let left = Left { crashes: 1, failures: 1, ..CALM };
    holds("no join", Config { left, has_join: false, sizes: &[2], ..small() }, 0);
}

#[test]
fn relay_is_late_and_dies() {
    let left = Left { crashes: 1, ..CALM };
    holds("lazy", Config { left, lazy: true, sizes: &[1, 2], ..small() }, 0);
}

#[test]
fn leased_work_is_run_again_when_its_worker_dies() {
    let left = Left { leases: 2, crashes: 1, ..CALM };
    holds("leases", Config { left, sizes: &[2], ..small() }, 0);
    holds("leases of plain jobs", Config { left: Left { interrupts: 1, ..left }, plain: true, ..small() }, 0);
}

#[test]
fn leases_of_workers_that_are_presumed_dead() {
    let left = Left { leases: 1, expiries: 1, ..CALM };
    holds("leases that expire", Config { left, ..small() }, 0);
    let left = Left { leases: 1, duplicates: 1, ..CALM };
    holds("leases of zombies", Config { left, sizes: &[1], ..small() }, 0);
    let left = Left { leases: 1, expiries: 1, cancels: 1, retries: 1, failures: 1, ..CALM };
    holds("leases of cancelled work", Config { left, sizes: &[1], tries: 1, ..small() }, 0);
}

#[test]
fn permits_never_exceed_the_limit_and_all_are_released() {
    let limited = || Config { permits: Some(1), sizes: &[2], ..small() };
    holds("permits", Config { left: Left { crashes: 2, ..CALM }, ..limited() }, 0);
    holds("permits of zombies", Config { left: Left { duplicates: 1, interrupts: 1, ..CALM }, ..limited() }, 0);
    holds("permits of failures", Config { left: Left { failures: 2, crashes: 1, ..CALM }, ..limited() }, 0);
    let three = Config { permits: Some(2), sizes: &[3], page: 3, workers: 3, tries: 1, ..small() };
    holds("two permits for three", Config { left: Left { crashes: 1, ..CALM }, ..three }, 0);
}

#[test]
fn permits_of_presumed_dead_workers_and_of_lost_claims() {
    let limited = || Config { permits: Some(1), sizes: &[2], ..small() };
    holds("permits expire", Config { left: Left { expiries: 1, crashes: 1, ..CALM }, ..limited() }, 0);
    holds("permits are forgotten", Config { left: Left { rollbacks: 1, interrupts: 1, ..CALM }, ..limited() }, 0);
}

#[test]
fn permits_while_a_client_cancels_and_retries() {
    let left = Left { cancels: 1, retries: 1, crashes: 1, ..CALM };
    holds("permits, cancelled", Config { left, permits: Some(1), sizes: &[2], tries: 1, ..small() }, 0);
    let left = Left { failures: 1, leases: 1, crashes: 1, ..CALM };
    holds("permits, stopping", Config { left, permits: Some(1), sizes: &[2], tries: 1, policy: STOP, ..small() }, 0);
    let left = Left { cancels: 1, retries: 1, crashes: 1, failures: 1, leases: 1, ..CALM };
    holds("permits of a plain job", Config { left, permits: Some(1), plain: true, ..small() }, 0);
}

/// How many states are explored of each kind of large world; each has more.
const LARGE: usize = 1_000_000;

/// Three workers, four parts, and all faults.
#[test]
#[ignore = "long: .ci/prove --long"]
fn large_worlds() {
    let all = Left {
        crashes: 2,
        duplicates: 2,
        rollbacks: 1,
        cancels: 1,
        retries: 1,
        interrupts: 1,
        failures: 2,
        refusals: 1,
        ..CALM
    };
    let large = Config { workers: 3, sizes: &[4, 3, 4], left: all, ..small() };
    holds("large", large.clone(), LARGE);
    holds("large, stopping", Config { policy: STOP, ..large.clone() }, LARGE);
    holds("large, without a join", Config { has_join: false, page: 1, ..large.clone() }, LARGE);
    holds("large, with a late relay", Config { lazy: true, ..large.clone() }, LARGE);
    let held = Left { leases: 2, expiries: 1, ..all };
    holds("large, leased and limited", Config { left: held, permits: Some(2), ..large.clone() }, LARGE);
    let calm = Left { crashes: 1, duplicates: 1, ..CALM };
    holds("large, with few faults", Config { left: calm, sizes: &[4, 3], tries: 1, ..large.clone() }, LARGE);
    let controlled = Left { cancels: 1, retries: 1, duplicates: 1, failures: 1, ..CALM };
    holds("large, cancelled and retried", Config { left: controlled, tries: 1, sizes: &[4, 1], ..large }, LARGE);
}
