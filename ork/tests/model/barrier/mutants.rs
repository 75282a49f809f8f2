//! Each mutant of the barrier is caught, in a world in which the unchanged barrier holds.

use super::super::{proof, search};
use super::explore::explore;
use super::{Config, Left, Mutant, NOTHING, SMALL};

fn caught(mutant: Mutant, config: Config) {
    search::caught(mutant, &explore(config, 0), &explore(Config { mutant: Some(mutant), ..config }, 0));
    proof::note("mutants", 1);
}

#[test]
fn mutant_that_counts_entries_instead_of_distinct_parts_is_caught() {
    caught(Mutant::Length, Config { left: Left { duplicates: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn mutant_that_removes_the_queue_before_firing_is_caught() {
    caught(Mutant::RemoveFirst, Config { left: Left { crashes: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn mutant_that_acknowledges_before_publishing_is_caught() {
    caught(Mutant::AckFirst, Config { left: Left { crashes: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn mutant_that_does_not_count_again_is_caught() {
    caught(Mutant::NoRecount, Config { left: Left { duplicates: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn mutant_that_counts_before_everything_is_back_is_caught() {
    caught(Mutant::NoFence, Config { left: Left { duplicates: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn mutant_that_trusts_a_low_count_after_a_death_is_caught() {
    caught(Mutant::NoSuspicion, Config { left: Left { crashes: 1, duplicates: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn mutant_that_does_not_check_again_is_caught_if_another_program_holds_a_record() {
    caught(Mutant::NoLook, Config { left: Left { holds: 1, ..NOTHING }, ..SMALL });
}
