//! Each falsehood about the barrier is caught, in a world in which the truth holds.

use super::super::{proof, search};
use super::explore::explore;
use super::{Config, Left, Mutant, NOTHING, SMALL};

fn caught(mutant: Mutant, config: Config) {
    search::caught(mutant, &explore(config, 0), &explore(Config { mutant: Some(mutant), ..config }, 0));
    proof::note("mutants", 1);
}

#[test]
fn the_length_of_the_queue_in_place_of_distinct_parts_is_caught() {
    caught(Mutant::Length, Config { left: Left { doubles: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn removing_before_firing_is_caught() {
    caught(Mutant::RemoveFirst, Config { left: Left { crashes: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn acknowledging_before_publishing_is_caught() {
    caught(Mutant::AckFirst, Config { left: Left { crashes: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn not_counting_again_is_caught() {
    caught(Mutant::NoRecount, Config { left: Left { doubles: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn counting_before_all_is_back_is_caught() {
    caught(Mutant::NoFence, Config { left: Left { doubles: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn believing_a_low_count_after_a_death_is_caught() {
    caught(Mutant::NoSuspicion, Config { left: Left { crashes: 1, doubles: 1, ..NOTHING }, ..SMALL });
}

#[test]
fn not_looking_again_is_caught_once_a_stranger_holds_a_record() {
    caught(Mutant::NoLook, Config { left: Left { holds: 1, ..NOTHING }, ..SMALL });
}
