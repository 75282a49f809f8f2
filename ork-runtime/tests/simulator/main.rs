//! The whole engine under a storm that is drawn from a seed: processes die, freeze, stop and have wrong clocks, the
//! store is late or refuses, the broker loses what it has, and time is virtual. The same seed is the same run.
//!
//! ```text
//! cargo test --test simulator                          a thousand seeds
//! cargo test --test simulator -- mutants               faults that are put back into the code
//! cargo test --test simulator -- --seed 17             one of them, with all that happened; a fault is made smaller
//! cargo test --test simulator -- --seeds 1000..2000    others
//! cargo test --test simulator -- --for 1h              as many as this time is enough for
//! cargo test --test simulator -- --scenario FILE       a scenario that a fault was made smaller to
//! cargo test --test simulator -- --mutant NAME ..      the same with a fault put back into the code
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what fails must fail loudly, and be read"
)]
#![expect(clippy::needless_pass_by_value, reason = "tasks own their inputs")]
#![expect(clippy::disallowed_methods, reason = "how long a run takes is no part of it")]

mod args;
mod broker;
mod call;
mod client;
mod clock;
mod dice;
mod ends;
mod events;
mod executor;
mod expected;
mod flows;
mod hoards;
mod kept;
mod log;
mod objects;
mod oracle;
mod process;
#[expect(unreachable_pub, reason = "other programs share it")]
#[path = "../support/proof.rs"]
mod proof;
mod scenario;
mod schedules;
mod shrink;
mod store;
mod surroundings;
mod tasks;
mod trace;
mod transactions;
mod troubles;
mod unkept;
mod why;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use ork::mutant::{Mutant, put_back};

use self::args::Asked;
use self::kept::Kept;
use self::scenario::Scenario;
use self::tasks::Scripted;
use self::world::{Report, run};

/// How many seeds are run unless others are asked for.
const SEEDS: u64 = 1_000;

/// The situations that the default seeds must produce, each at least once.
const REACHED: [&str; 23] = [
    "answers of `why` compared",
    "answers without a store",
    "confirms lost",
    "deliveries acknowledged for a lease",
    "deliveries that came again",
    "events heard",
    "followers compared",
    "jobs and sets without a store that were followed",
    "jobs sent again whose message was lost",
    "jobs split",
    "jobs started by schedules",
    "jobs taken up again",
    "large outputs read",
    "large outputs removed",
    "outputs that the store cannot hold",
    "processes ended by their tasks",
    "processes taken for dead",
    "records of part queues held by others",
    "records that are too large",
    "runs of which each end was told",
    "stores that began anew",
    "tasks of workflows called",
    "transactions rolled back and carried out again",
];

/// How many of them are run twice.
const TWICE: u64 = 25;

/// Within how many seeds a fault that is put back must be found.
const MUTANT_SEEDS: u64 = 400;

/// Answers whether it went well; the long form is asked for, or the short one.
type Test = fn(bool) -> bool;

const TESTS: [(&str, Test); 4] = [
    ("same_seed_same_trace", same_seed_same_trace),
    ("kept_scenarios", kept_scenarios),
    ("mutants", mutants),
    ("seeds", seeds),
];

/// What was asked to be put back; it is so on each thread.
static MUTANT: OnceLock<Option<Mutant>> = OnceLock::new();

fn main() -> ExitCode {
    quiet();
    let (asked, mutant) = match args::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(words) => {
            println!("{words}");
            return ExitCode::FAILURE;
        }
    };
    put_back(mutant);
    MUTANT.set(mutant).unwrap();
    let well = match asked {
        Asked::List => {
            for (name, _) in TESTS {
                println!("{name}: test");
            }
            true
        }
        Asked::Seed(seed) => show(Scenario::generate(seed)),
        Asked::Scenario(file) => {
            let text = std::fs::read_to_string(&file).unwrap();
            show(serde_json::from_str(&text).unwrap())
        }
        Asked::Seeds(seeds) => storm_of(seeds, &[]),
        Asked::For(time) => storm_for(time),
        Asked::Tests { wanted, skipped, long } => {
            let is_wanted = |name: &str| {
                (wanted.is_empty() || wanted.iter().any(|word| name.contains(word)))
                    && !skipped.iter().any(|word| name.contains(word))
            };
            let tests = TESTS.iter().filter(|(name, _)| is_wanted(name));
            let failed: Vec<_> = tests.filter(|(_, test)| !test(long)).map(|(name, _)| *name).collect();
            if !failed.is_empty() {
                println!("failed: {}", failed.join(", "));
            }
            failed.is_empty()
        }
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Panics that were asked for say nothing.
fn quiet() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<Scripted>().is_none() {
            loud(info);
        }
    }));
}

/// Runs a scenario and shows all of it; if it shows a fault, a smaller one.
fn show(scenario: Scenario) -> bool {
    let mut report = run(&scenario, true);
    let mut scenario = scenario;
    if let Some(fault) = &report.fault {
        println!("{}: {}\nmaking it smaller ..", fault.property, fault.words);
        scenario = shrink::shrink(scenario, fault.property);
        report = run(&scenario, true);
    }
    for line in report.trace.lines() {
        println!("{line}");
    }
    println!("{}", serde_json::to_string(&scenario).unwrap());
    match &report.fault {
        None => println!("no fault in {} virtual seconds", report.lasted / 1_000_000),
        Some(fault) => println!("{}: {}", fault.property, fault.words),
    }
    report.fault.is_none()
}

fn same_seed_same_trace(_long: bool) -> bool {
    let differs = |seed: &u64| {
        let scenario = Scenario::generate(*seed);
        let (first, second) = (run(&scenario, true), run(&scenario, true));
        let same = first.trace.lines() == second.trace.lines() && first.trace.digest() == second.trace.digest();
        !same || first.polls != second.polls || first.trace.lines().is_empty()
    };
    let different: Vec<_> = (0..TWICE).filter(differs).collect();
    println!("{TWICE} seeds were run twice: {} differ {different:?}", different.len());
    different.is_empty()
}

fn seeds(long: bool) -> bool {
    if long { storm_for(Duration::from_hours(1)) } else { storm_of(0..SEEDS, &REACHED) }
}

fn storm_for(time: Duration) -> bool {
    let begun = Instant::now();
    storm_of((0..).take_while(|_| begun.elapsed() < time), &REACHED)
}

/// Faults that were found once, each with the smallest scenario that shows it: none shows any more, and each does with
/// its fault put back.
fn kept_scenarios(_long: bool) -> bool {
    let failed: Vec<_> = kept::all().into_iter().filter_map(|kept| kept.problem()).collect();
    for problem in &failed {
        println!("{problem}");
    }
    failed.is_empty()
}

/// Puts each fault back into the code: it must be found within so many seeds.
fn mutants(_long: bool) -> bool {
    let (next, found) = (Mutex::new(Mutant::ALL.iter()), Mutex::new(Vec::new()));
    let kept = kept::all();
    in_parallel(|| {
        let Some(mutant) = next.lock().unwrap().next() else { return false };
        let begun = Instant::now();
        put_back(Some(*mutant));
        // The rarest ones show in the scenario that was kept.
        let kept_fault = kept.iter().find(|kept| kept.is_of(*mutant)).and_then(Kept::fault);
        let report = |seed| Some((seed, run(&Scenario::generate(seed), false).fault?));
        let fault = if kept_fault.is_none() { (0..MUTANT_SEEDS).find_map(report) } else { None };
        put_back(None);
        let secs = begun.elapsed().as_secs_f64();
        match (&fault, &kept_fault) {
            (Some((seed, fault)), _) => println!("{mutant:?}: seed {seed}, {}, {secs:.1} s", fault.property),
            (None, Some((_, fault))) => println!("{mutant:?}: kept scenario, {}, {secs:.1} s", fault.property),
            (None, None) => println!("{mutant:?}: NOT FOUND in {MUTANT_SEEDS} seeds, {secs:.1} s"),
        }
        let is_found = fault.is_some() || kept_fault.is_some();
        found.lock().unwrap().push((is_found, kept_fault.is_none(), fault.map(|(seed, _)| seed + 1)));
        true
    });
    let found = found.into_inner().unwrap();
    let n_found = found.iter().filter(|(is_found, ..)| *is_found).count();
    let of_seeds = found.iter().filter(|(_, is_of_seeds, _)| *is_of_seeds);
    let mut seeds: Vec<_> = of_seeds.map(|(_, _, seeds)| seeds.unwrap_or(u64::MAX)).collect();
    seeds.sort_unstable();
    let (n_of_seeds, median) = (seeds.len(), seeds.get(seeds.len() / 2).copied().unwrap_or(0));
    println!("{n_found} of {} mutants were found: {n_of_seeds} by seeds, half of these within {median}", found.len());
    proof::note("mutants", found.len());
    proof::note("mutants_caught", n_found);
    n_found == found.len()
}

/// Does it again and again, on as many threads as there are processors, until it answers that nothing is left.
fn in_parallel(work: impl Fn() -> bool + Sync) {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                put_back(MUTANT.get().copied().flatten());
                while work() {}
            });
        }
    });
}

/// What many runs came to.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    faults: usize,
    micros: u64,
    calls: u64,
    polls: u64,
    excuses: BTreeMap<&'static str, u64>,
    reached: BTreeMap<&'static str, u64>,
}

impl Sum {
    fn add(&mut self, seed: u64, report: Report) {
        if let Some(fault) = &report.fault {
            println!("seed {seed}: {}: {}", fault.property, fault.words);
            self.faults += 1;
        }
        self.seeds += 1;
        self.micros += report.lasted;
        self.calls += report.calls;
        self.polls += report.polls;
        for (what, times) in report.reached {
            *self.reached.entry(what).or_default() += times;
        }
        for (excuse, times) in report.excuses {
            *self.excuses.entry(excuse).or_default() += times;
        }
    }
}

/// Runs seeds, on as many threads as there are processors; all of this must be reached.
fn storm_of(seeds: impl Iterator<Item = u64> + Send, wanted: &[&str]) -> bool {
    let begun = Instant::now();
    let (seeds, sum) = (Mutex::new(seeds), Mutex::new(Sum::default()));
    in_parallel(|| {
        let seed = seeds.lock().unwrap().next();
        let Some(seed) = seed else { return false };
        let report = run(&Scenario::generate(seed), false);
        sum.lock().unwrap().add(seed, report);
        true
    });
    let Sum { seeds, faults, micros, calls, polls, excuses, reached } = sum.into_inner().unwrap();
    let (minutes, took) = (micros / 60_000_000, begun.elapsed().as_secs_f64());
    println!("{seeds} seeds, {minutes} virtual minutes, {calls} calls, {polls} polls in {took:.1} s: {faults} failed");
    let unreached: Vec<_> = wanted.iter().filter(|what| !reached.contains_key(**what)).collect();
    for (what, times) in reached {
        println!("{times:>8} {what}");
    }
    for (excuse, times) in excuses {
        println!("{times:>8} times let pass: {excuse}");
    }
    proof::note("sim_seeds", usize::try_from(seeds).unwrap());
    proof::note("sim_minutes", usize::try_from(minutes).unwrap());
    proof::note("sim_faults", faults);
    if !unreached.is_empty() {
        println!("never reached: {unreached:?}");
    }
    faults == 0 && unreached.is_empty()
}
