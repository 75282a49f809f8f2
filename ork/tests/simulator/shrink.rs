//! Makes a scenario that shows a fault smaller: after each omission, and each shorter time, the same property must
//! still be false.

use super::names::Property;
use super::scenario::{Scenario, StoreKind};
use super::tasks::Script;
use super::workload::{Act, Job};
use super::world::run;

/// The maximum number of runs.
const RUNS: u32 = 1_000;

/// The maximum number of polls in all of them together, so that the speed of the computer makes no difference.
const POLLS: u64 = 5_000_000;

/// The first event of a scenario is moved to this time, in milliseconds, once everything starts earlier.
const FIRST: u64 = 1_000;

/// The result of shrinking a scenario.
#[derive(Debug)]
pub(crate) struct Shrunk {
    pub(crate) scenario: Scenario,
    pub(crate) runs: u32,
    /// Whether a limit ended the search.
    pub(crate) is_cut: bool,
}

/// Returns a smaller scenario in which this property is false, too: nothing more can be left out of it, unless a limit
/// ended the search.
pub(crate) fn shrink(mut scenario: Scenario, property: Property) -> Shrunk {
    let (mut runs, mut polls) = (0, 0);
    loop {
        let mut smaller = None;
        for candidate in candidates(&scenario) {
            if runs == RUNS || polls > POLLS {
                return Shrunk { scenario, runs, is_cut: true };
            }
            let report = run(&candidate, false);
            runs += 1;
            polls += report.polls;
            if report.fault.is_some_and(|fault| fault.property == property) {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(smaller) => scenario = smaller,
            None => return Shrunk { scenario, runs, is_cut: false },
        }
    }
}

/// Returns valid smaller scenarios; those that leave out more come first.
fn candidates(of: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    for acts in without(&of.acts) {
        all.push(Scenario { acts, ..of.clone() });
    }
    for troubles in without(&of.troubles) {
        all.push(Scenario { troubles, ..of.clone() });
    }
    if of.broker.is_some() && of.store != StoreKind::None {
        let troubles = of.troubles.iter().filter(|(_, trouble)| !trouble.is_of_broker()).cloned().collect();
        all.push(Scenario { broker: None, events: false, troubles, ..of.clone() });
    }
    if of.workers.len() > 1 {
        for workers in without(&of.workers).into_iter().filter(|workers| !workers.is_empty()) {
            all.push(Scenario { workers, ..of.clone() });
        }
    }
    for number in 0..of.clients.len() {
        let mut clients = of.clients.clone();
        if let Some(client) = clients.get_mut(number).filter(|client| client.newer) {
            client.newer = false;
            all.push(Scenario { clients, ..of.clone() });
        }
    }
    for number in 0..of.workers.len() {
        let mut workers = of.workers.clone();
        if let Some(worker) = workers.get_mut(number).filter(|worker| !worker.lacks.is_empty() || worker.newer) {
            (worker.lacks, worker.newer) = (Vec::new(), false);
            all.push(Scenario { workers, ..of.clone() });
        }
    }
    if !of.clients.is_empty() {
        all.push(Scenario { clients: Vec::new(), ..of.clone() });
        all.extend(without(&of.clients).into_iter().map(|clients| Scenario { clients, ..of.clone() }));
    }
    all.extend(shorter(of));
    for (at, (moment, act)) in of.acts.iter().enumerate() {
        let Some((number, job)) = act.submits() else { continue };
        for job in simpler(job) {
            let mut acts = of.acts.clone();
            acts.splice(at..=at, [(*moment, Act::Submit(number, job))]);
            all.push(Scenario { acts, ..of.clone() });
        }
    }
    all.retain(|scenario| scenario.problem().is_none());
    all
}

/// Returns scenarios that do the same in less time.
fn shorter(of: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let at = |from: fn(u64, u64) -> u64, by: u64| {
        let acts = of.acts.iter().map(|(at, act)| (from(*at, by), act.clone())).collect();
        let troubles = of.troubles.iter().map(|(at, trouble)| (from(*at, by), trouble.clone())).collect();
        Scenario { acts, troubles, calm: from(of.calm, by), ..of.clone() }
    };
    // The calm begins as soon as the last trouble is over.
    let over = of.troubles.iter().map(|(at, trouble)| at + trouble.lasts()).max().unwrap_or(0);
    if over < of.calm {
        all.push(Scenario { calm: over, ..of.clone() });
    }
    // Everything at once earlier.
    let times = of.acts.iter().map(|(at, _)| *at).chain(of.troubles.iter().map(|(at, _)| *at));
    let first = times.min().unwrap_or(0);
    if first > FIRST {
        all.push(at(u64::saturating_sub, first - FIRST));
    }
    if first > 1 {
        all.push(at(|time, by| time / by, 2));
    }
    for number in 0..of.troubles.len() {
        let mut troubles = of.troubles.clone();
        let span = troubles.get_mut(number).and_then(|(_, trouble)| trouble.span_mut());
        let Some(span) = span.filter(|span| **span > 1_000) else { continue };
        *span /= 2;
        all.push(Scenario { troubles, ..of.clone() });
    }
    all
}

/// Returns the list without a half of it, a quarter, and so on down to each single element.
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
    let mut all: Vec<_> = match job {
        Job::Itself(parts) => without(parts).into_iter().map(Job::Itself).collect(),
        Job::Together(jobs) => without(jobs).into_iter().map(Job::Together).collect(),
        Job::Set(parts) => without(parts).into_iter().map(Job::Set).collect(),
        Job::Many(parts) => without(parts).into_iter().map(Job::Many).collect(),
        Job::Tree(script, below) => {
            let smaller = without(below).into_iter().map(|below| Job::Tree(script.clone(), below));
            smaller.chain([Job::Plain(script.clone())]).collect()
        }
        Job::Narrow(script)
        | Job::Timed(script)
        | Job::Unique(_, script)
        | Job::Versioned(script)
        | Job::Keyed(_, script)
        | Job::Takeover(_, _, script)
        | Job::Follower(_, script)
        | Job::Hooked(script)
        | Job::Asked(script) => vec![Job::Plain(script.clone())],
        // Later tasks need earlier ones.
        Job::Flow(tasks) => (1..tasks.len()).map(|len| Job::Flow(tasks.iter().take(len).cloned().collect())).collect(),
        Job::Plain(_) | Job::Blocking(_) => Vec::new(),
    };
    let mut short = job.clone();
    short.scripts_mut().into_iter().for_each(shorten);
    if short != *job {
        all.push(short);
    }
    all
}

fn shorten(script: &mut Script) {
    let Script { takes, fails, how, reports, .. } = *script;
    *script = Script { key: 0, takes: takes / 2, fails: fails / 2, how, reports: reports / 2 };
}
