//! The whole engine under a storm that is drawn from a seed: processes die, freeze, stop and have wrong clocks, the store
//! is late or refuses, and time is virtual. The same seed is the same run.
//!
//! ```text
//! cargo test --test simulator                          a thousand seeds
//! cargo test --test simulator -- --seed 17             one of them, with all that happened; a fault is made smaller
//! cargo test --test simulator -- --seeds 1000..2000    others
//! cargo test --test simulator -- --for 1h              as many as this time is enough for
//! cargo test --test simulator -- --scenario FILE       a scenario that a fault was made smaller to
//! ```

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "what fails must fail loudly, and be read")]

mod args;
mod client;
mod clock;
mod dice;
mod executor;
mod oracle;
mod process;
#[path = "../support/proof.rs"]
mod proof;
mod said;
mod scenario;
mod shrink;
mod store;
mod surroundings;
mod tasks;
mod trace;
mod world;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use self::args::Asked;
use self::scenario::Scenario;
use self::tasks::Scripted;
use self::world::{Report, run};

/// How many seeds are run unless others are asked for.
const SEEDS: u64 = 1_000;

/// How many of them are run twice.
const TWICE: u64 = 25;

const TESTS: [(&str, fn(bool) -> bool); 2] = [("same_seed_same_trace", same_seed_same_trace), ("seeds", seeds)];

fn main() -> ExitCode {
    quiet();
    let well = match args::read(std::env::args().skip(1)) {
        Err(words) => {
            println!("{words}");
            false
        }
        Ok(Asked::List) => {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
            true
        }
        Ok(Asked::Seed(seed)) => show(Scenario::generate(seed)),
        Ok(Asked::Scenario(file)) => {
            let text = std::fs::read_to_string(&file).unwrap();
            show(serde_json::from_str(&text).unwrap())
        }
        Ok(Asked::Seeds(seeds)) => storm(seeds),
        Ok(Asked::For(time)) => storm_for(time),
        Ok(Asked::Tests { wanted, skipped, long }) => {
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
    report.trace.lines().iter().for_each(|line| println!("{line}"));
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
    if long { storm_for(Duration::from_hours(1)) } else { storm(0..SEEDS) }
}

fn storm(mut seeds: std::ops::Range<u64>) -> bool {
    storm_of(move || seeds.next())
}

fn storm_for(time: Duration) -> bool {
    let (begun, mut next) = (Instant::now(), 0);
    storm_of(move || {
        next += 1;
        (begun.elapsed() < time).then_some(next)
    })
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
        for (excuse, times) in report.excuses {
            *self.excuses.entry(excuse).or_default() += times;
        }
    }
}

/// Runs seeds, on as many threads as there are processors.
fn storm_of(next: impl FnMut() -> Option<u64> + Send) -> bool {
    let begun = Instant::now();
    let (next, sum) = (Mutex::new(next), Mutex::new(Sum::default()));
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                loop {
                    let seed = next.lock().unwrap()();
                    let Some(seed) = seed else { return };
                    let report = run(&Scenario::generate(seed), false);
                    sum.lock().unwrap().add(seed, report);
                }
            });
        }
    });
    let Sum { seeds, faults, micros, calls, polls, excuses } = sum.into_inner().unwrap();
    let (minutes, took) = (micros / 60_000_000, begun.elapsed().as_secs_f64());
    println!("{seeds} seeds, {minutes} virtual minutes, {calls} calls, {polls} polls in {took:.1} s: {faults} failed");
    excuses.iter().for_each(|(excuse, times)| println!("{times:>8} times let pass: {excuse}"));
    proof::note("sim_seeds", usize::try_from(seeds).unwrap());
    proof::note("sim_minutes", usize::try_from(minutes).unwrap());
    proof::note("sim_faults", faults);
    faults == 0
}
