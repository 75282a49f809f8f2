//! The whole engine under a storm that is drawn from a seed: processes die, freeze, stop and have wrong clocks, the
//! store is late or refuses, the broker loses what it has, and time is virtual. The same seed is the same run.
//!
//! `docs/simulator.md` is its manual, `args.rs` has all arguments.
//!
//! ```text
//! cargo test --workspace --all-features --test simulator                          all tests: a thousand seeds, ..
//! cargo test --workspace --all-features --test simulator -- mutants               faults that are put back
//! cargo test --workspace --all-features --test simulator -- --seed 17             one seed, with all that happens
//! cargo test --workspace --all-features --test simulator -- --seeds 1000..2000    others
//! cargo test --workspace --all-features --test simulator -- --for 1h              as many as this is enough for
//! cargo test --workspace --all-features --test simulator -- --scenario FILE       a scenario, or a file of kept/
//! cargo test --workspace --all-features --test simulator -- --seed 17 --mutant WakesNobody
//! cargo test --workspace --all-features --test simulator -- --help
//! ```

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails must fail loudly, and be read")]
#![expect(clippy::needless_pass_by_value, reason = "tasks own their inputs")]
#![expect(clippy::disallowed_methods, reason = "how long a run takes is no part of it")]

mod args;
mod broker;
mod call;
mod client;
mod clock;
mod commits;
mod dice;
mod ends;
mod events;
mod executor;
mod expected;
mod flows;
mod hoards;
mod kept;
mod log;
mod names;
mod objects;
mod oracle;
mod process;
use ork_test_support::proof;
mod say;
mod scenario;
mod schedules;
mod show;
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
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use ork::mutant::{Mutant, put_back};

use self::args::{Asked, Filter, Request, USAGE};
use self::kept::Kept;
use self::names::{Property, Reached};
use self::say::say;
use self::scenario::Scenario;
use self::show::{show_file, show_seed};
use self::tasks::Scripted;
use self::world::{Report, run};

/// How many seeds are run unless others are asked for.
const SEEDS: u64 = 1_000;

/// How many of them are run twice.
const TWICE: u64 = 25;

/// Within how many seeds a fault that is put back must be found.
const MUTANT_SEEDS: u64 = 400;

/// Answers whether it went well; the long form is asked for, or the short one.
type Test = fn(bool) -> bool;

const TESTS: [(&str, Test); 7] = [
    ("arguments", arguments),
    ("documented", documented),
    ("scenarios_make_sense", scenarios_make_sense),
    ("same_seed_same_trace", same_seed_same_trace),
    ("kept_scenarios", kept_scenarios),
    ("mutants", mutants),
    ("seeds", seeds),
];

/// What was asked to be put back; it is so on each thread.
static MUTANT: OnceLock<Option<Mutant>> = OnceLock::new();

fn main() -> ExitCode {
    quiet();
    match args::read(std::env::args().skip(1)).and_then(carry_out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(words) => {
            say!("{words}");
            ExitCode::from(2)
        }
    }
}

/// Answers whether it went well, or what is wrong with what is asked for.
fn carry_out(request: Request) -> Result<bool, String> {
    let mutant = request.put_back.or(None);
    put_back(mutant);
    MUTANT.set(mutant).unwrap();
    Ok(match &request.asked {
        Asked::Help => {
            say!("{USAGE}");
            true
        }
        Asked::List(filter) => {
            for (name, _) in TESTS.iter().filter(|(name, _)| filter.has(name)) {
                say!("{name}: test");
            }
            true
        }
        Asked::Seed(seed) => show_seed(*seed, &request),
        Asked::Scenario(file) => show_file(file, &request)?,
        Asked::Seeds(seeds) => storm_of(seeds.clone(), Demands::Nothing),
        Asked::For(time) => storm_for(*time),
        Asked::Tests(filter) => tests(filter),
    })
}

/// Runs the tests that are wanted. A name that fits none is no fault: `cargo test NAME` passes it to all test programs.
fn tests(filter: &Filter) -> bool {
    let wanted: Vec<_> = TESTS.iter().filter(|(name, _)| filter.has(name)).collect();
    if wanted.is_empty() && !filter.wanted.is_empty() {
        let all: Vec<_> = TESTS.iter().map(|(name, _)| *name).collect();
        say!("0 tests match `{}`; there are {}", filter.wanted.join(" "), all.join(", "));
    }
    let failed: Vec<_> = wanted.into_iter().filter(|(_, test)| !test(filter.long)).map(|(name, _)| *name).collect();
    if !failed.is_empty() {
        say!("failed: {}", failed.join(", "));
    }
    failed.is_empty()
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

/// Prints what is wrong; answers whether nothing is.
fn are_none(problems: &[String]) -> bool {
    for problem in problems {
        say!("{problem}");
    }
    problems.is_empty()
}

/// Lines of arguments come to what they should.
fn arguments(_long: bool) -> bool {
    are_none(&args::wrong())
}

/// Each property is named beside its promise.
fn documented(_long: bool) -> bool {
    let guarantees = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guarantees.md");
    let guarantees = std::fs::read_to_string(guarantees).unwrap();
    let is_named = |property: &&Property| guarantees.contains(&format!("`{property}`"));
    let words = |property: &Property| format!("docs/guarantees.md does not name the property `{property}`");
    let unnamed: Vec<_> = Property::ALL.iter().filter(|property| !is_named(property)).map(words).collect();
    are_none(&unnamed)
}

/// What seeds come to is not refused as a scenario, and says the same once it was written and read; other scenarios are
/// refused.
fn scenarios_make_sense(_long: bool) -> bool {
    let problem = |seed: u64| {
        let scenario = Scenario::generate(seed);
        let text = serde_json::to_string(&scenario).unwrap();
        let is_same = serde_json::from_str::<Scenario>(&text).unwrap() == scenario;
        scenario.problem().or_else(|| (!is_same).then(|| "it is read as another one".to_owned()))
    };
    let of_seed = |seed: u64| Some(format!("seed {seed}: {}", problem(seed)?));
    let problems: Vec<_> = (0..SEEDS).filter_map(of_seed).chain(scenario::accepted_nonsense()).collect();
    are_none(&problems)
}

fn same_seed_same_trace(_long: bool) -> bool {
    let differs = |seed: &u64| {
        let scenario = Scenario::generate(*seed);
        let (first, second) = (run(&scenario, true), run(&scenario, true));
        let same = first.trace.lines() == second.trace.lines() && first.trace.digest() == second.trace.digest();
        !same || first.polls != second.polls || first.trace.lines().is_empty()
    };
    let different: Vec<_> = (0..TWICE).filter(differs).collect();
    say!("{TWICE} seeds were run twice: {} differ {different:?}", different.len());
    different.is_empty()
}

fn seeds(long: bool) -> bool {
    if long { storm_for(Duration::from_hours(1)) } else { storm_of(0..SEEDS, Demands::Situations) }
}

fn storm_for(time: Duration) -> bool {
    let begun = Instant::now();
    storm_of((0..).take_while(|_| begun.elapsed() < time), Demands::Situations)
}

/// Faults that were found once, each with a small scenario that shows it: none shows any more, and each does with its
/// fault put back.
fn kept_scenarios(_long: bool) -> bool {
    are_none(&match kept::all() {
        Ok(all) => all.iter().filter_map(Kept::problem).collect(),
        Err(problem) => vec![problem],
    })
}

/// Puts each fault back into the code: it must be found within so many seeds.
fn mutants(_long: bool) -> bool {
    let (next, found) = (Mutex::new(Mutant::ALL.iter()), Mutex::new(Vec::new()));
    // What is wrong with one of them fails another test.
    let kept = kept::all().unwrap_or_default();
    in_parallel(|| {
        let Some(mutant) = next.lock().unwrap().next() else { return false };
        let begun = Instant::now();
        put_back(Some(*mutant));
        // The rarest ones show in the scenario that was kept.
        let kept_fault = kept.iter().find(|kept| kept.puts_back() == Some(*mutant)).and_then(Kept::fault);
        let report = |seed| Some((seed, run(&Scenario::generate(seed), false).fault?));
        let fault = if kept_fault.is_none() { (0..MUTANT_SEEDS).find_map(report) } else { None };
        put_back(None);
        let secs = begun.elapsed().as_secs_f64();
        match (&fault, &kept_fault) {
            (Some((seed, fault)), _) => say!("{mutant:?}: seed {seed}, {}, {secs:.1} s", fault.property),
            (None, Some((_, fault))) => say!("{mutant:?}: kept scenario, {}, {secs:.1} s", fault.property),
            (None, None) => say!("{mutant:?}: NOT FOUND in {MUTANT_SEEDS} seeds, {secs:.1} s"),
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
    say!("{n_found} of {} mutants were found: {n_of_seeds} by seeds, half of these within {median}", found.len());
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
    reached: BTreeMap<Reached, u64>,
}

impl Sum {
    fn add(&mut self, seed: u64, report: Report) {
        if let Some(fault) = &report.fault {
            say!("seed {seed}: {fault}");
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

/// What seeds must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demands {
    Nothing,
    /// All situations that are demanded, if there are as many seeds as by default.
    Situations,
}

/// Runs seeds, on as many threads as there are processors.
fn storm_of(seeds: impl Iterator<Item = u64> + Send, demands: Demands) -> bool {
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
    say!("{seeds} seeds, {minutes} virtual minutes, {calls} calls, {polls} polls in {took:.1} s: {faults} failed");
    let is_missing = |what: &Reached| what.is_demanded() && !reached.contains_key(what);
    let is_enough = demands == Demands::Situations && seeds >= SEEDS;
    let unreached: Vec<_> = Reached::ALL.iter().filter(|what| is_enough && is_missing(what)).collect();
    for (what, times) in reached {
        say!("{times:>8} {what}");
    }
    for (excuse, times) in excuses {
        say!("{times:>8} times let pass: {excuse}");
    }
    proof::note("sim_seeds", usize::try_from(seeds).unwrap());
    proof::note("sim_minutes", usize::try_from(minutes).unwrap());
    proof::note("sim_faults", faults);
    if !unreached.is_empty() {
        say!("never reached: {}", unreached.iter().map(|what| what.as_str()).collect::<Vec<_>>().join(", "));
    }
    faults == 0 && unreached.is_empty()
}
