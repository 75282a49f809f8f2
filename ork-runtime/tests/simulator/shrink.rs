//! Makes a scenario smaller that shows a fault: what is left out of it must leave the same property false.

use std::time::{Duration, Instant};

use super::scenario::{Scenario, StoreKind};
use super::tasks::Script;
use super::workload::{Act, Job};
use super::world::run;

/// At most so many runs, and no longer than this.
const RUNS: u32 = 400;
const LONGEST: Duration = Duration::from_mins(1);

/// A smaller scenario in which this property is false, too.
pub(crate) fn shrink(mut scenario: Scenario, property: &str) -> Scenario {
    let begun = Instant::now();
    let mut runs = 0;
    loop {
        let smaller = candidates(&scenario).into_iter().find(|smaller| {
            runs += 1;
            let in_time = runs <= RUNS && begun.elapsed() < LONGEST;
            in_time && run(smaller, false).fault.is_some_and(|fault| fault.property == property)
        });
        match smaller {
            Some(smaller) => scenario = smaller,
            None => return scenario,
        }
    }
}

/// Each of them is smaller, those that leave out more come first.
fn candidates(of: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    for acts in without(&of.acts) {
        all.push(Scenario { acts, ..of.clone() });
    }
    for troubles in without(&of.troubles) {
        all.push(Scenario { troubles, ..of.clone() });
    }
    if of.broker.is_some() && of.store != StoreKind::None {
        all.push(Scenario { broker: None, events: false, ..of.clone() });
    }
    if of.workers.len() > 1 {
        for workers in without(&of.workers).into_iter().filter(|workers| !workers.is_empty()) {
            all.push(Scenario { workers, ..of.clone() });
        }
    }
    for (at, (moment, act)) in of.acts.iter().enumerate() {
        let Some((number, job)) = act.submits() else { continue };
        for job in simpler(job) {
            let mut acts = of.acts.clone();
            acts.splice(at..=at, [(*moment, Act::Submit(number, job))]);
            all.push(Scenario { acts, ..of.clone() });
        }
    }
    all
}

/// The list without a half of it, a quarter, and so on to each single one.
fn without<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    let (mut all, mut len) = (Vec::new(), list.len());
    while len > 0 {
        for from in (0..list.len()).step_by(len) {
            let rest = list.iter().enumerate().filter(|(at, _)| !(from..from + len).contains(at));
            all.push(rest.map(|(_, one)| one.clone()).collect());
        }
        len /= 2;
    }
    all
}

fn simpler(job: &Job) -> Vec<Job> {
    match job {
        Job::Itself(parts) => without(parts).into_iter().map(Job::Itself).collect(),
        Job::Set(parts) => without(parts).into_iter().filter(|parts| !parts.is_empty()).map(Job::Set).collect(),
        Job::Many(parts) => without(parts).into_iter().map(Job::Many).collect(),
        Job::Tree(script, below) => {
            let smaller = without(below).into_iter().map(|below| Job::Tree(script.clone(), below));
            smaller.chain([Job::Plain(script.clone())]).collect()
        }
        Job::Plain(script) => short(script).map(Job::Plain).into_iter().collect(),
        Job::Narrow(script)
        | Job::Timed(script)
        | Job::Unique(_, script)
        | Job::Follower(_, script)
        | Job::Hooked(script)
        | Job::Asked(script) => vec![Job::Plain(script.clone())],
        // Those that stand before others are needed by them.
        Job::Flow(tasks) => (1..tasks.len()).map(|len| Job::Flow(tasks.iter().take(len).cloned().collect())).collect(),
        Job::Blocking(_) => Vec::new(),
    }
}

fn short(script: &Script) -> Option<Script> {
    let short = Script { key: 0, takes: script.takes / 2, fails: script.fails / 2, how: script.how };
    (short != *script).then_some(short)
}
