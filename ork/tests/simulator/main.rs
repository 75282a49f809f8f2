//! Runs the whole engine under a storm that is drawn from a seed: processes die, freeze, stop and have wrong clocks,
//! the store is late or refuses, the broker loses messages, and time is virtual. The same seed is the same run.
//!
//! `docs/simulator.md` is its manual, `args.rs` has all arguments.
//!
//! ```text
//! cargo test --workspace --all-features --test simulator                          all tests: a thousand seeds, ..
//! cargo test --workspace --all-features --test simulator -- mutants               faults that are put back
//! cargo test --workspace --all-features --test simulator -- --seed 17             one seed, with all that happens
//! cargo test --workspace --all-features --test simulator -- --seeds 1000..2000    other seeds
//! cargo test --workspace --all-features --test simulator -- --for 1h              as many seeds as fit into this time
//! cargo test --workspace --all-features --test simulator -- --scenario FILE       a scenario, or a file of kept/
//! cargo test --workspace --all-features --test simulator -- --seed 17 --mutant WakesNoWaiter
//! cargo test --workspace --all-features --test simulator -- --help
//! ```

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure must be loud and visible")]
#![expect(clippy::needless_pass_by_value, reason = "tasks own their inputs")]
#![expect(clippy::disallowed_methods, reason = "the duration of a run is not part of its result")]

mod acknowledged;
mod acts;
mod args;
mod audit;
mod batches;
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
mod limits;
mod log;
mod names;
mod objects;
mod oracle;
mod part_retries;
mod print_line;
mod process;
mod progress;
use ork_test_support::proof;
mod scenario;
mod schedules;
mod show;
mod shrink;
mod slots;
mod splits;
mod store;
mod store_troubles;
mod storeless;
mod surroundings;
mod takeovers;
mod tasks;
mod trace;
mod transactions;
mod troubles;
mod versions;
mod why;
mod workload;
mod world;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use ork_core::mutant::{Mutant, put_back};

use self::args::{Action, Filter, Request, USAGE};
use self::kept::Kept;
use self::names::{Property, Reached};
use self::print_line::print_line;
use self::scenario::Scenario;
use self::show::{show_file, show_seed};
use self::tasks::Scripted;
use self::world::{Report, run};

/// How many seeds run by default.
const SEEDS: u64 = 1_000;

/// How many of them run twice.
const TWICE: u64 = 25;

/// Within how many seeds a mutant must be found.
const MUTANT_SEEDS: u64 = 400;

/// Returns whether the test succeeded; the argument selects its long form.
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

/// The mutant that the command line requests, if any; it applies to each thread.
static MUTANT: OnceLock<Option<Mutant>> = OnceLock::new();

fn main() -> ExitCode {
    quiet();
    match args::read(std::env::args().skip(1)).and_then(carry_out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(detail) => {
            print_line!("{detail}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether all went well, or describes what is wrong with the request.
fn carry_out(request: Request) -> Result<bool, String> {
    let mutant = request.put_back.or(None);
    put_back(mutant);
    MUTANT.set(mutant).unwrap();
    Ok(match &request.action {
        Action::Help => {
            print_line!("{USAGE}");
            true
        }
        Action::List(filter) => {
            for (name, _) in TESTS.iter().filter(|(name, _)| filter.has(name)) {
                print_line!("{name}: test");
            }
            true
        }
        Action::Seed(seed) => show_seed(*seed, &request),
        Action::Scenario(file) => show_file(file, &request)?,
        Action::Seeds(seeds) => storm_of(seeds.clone(), Demands::Nothing),
        Action::For(time) => storm_for(*time),
        Action::Tests(filter) => tests(filter),
    })
}

/// Runs the selected tests. A name that fits none is not a fault: `cargo test NAME` passes it to all test programs.
fn tests(filter: &Filter) -> bool {
    let wanted: Vec<_> = TESTS.iter().filter(|(name, _)| filter.has(name)).collect();
    if wanted.is_empty() && !filter.wanted.is_empty() {
        let all: Vec<_> = TESTS.iter().map(|(name, _)| *name).collect();
        print_line!("0 tests match `{}`; there are {}", filter.wanted.join(" "), all.join(", "));
    }
    let failed: Vec<_> = wanted.into_iter().filter(|(_, test)| !test(filter.long)).map(|(name, _)| *name).collect();
    if !failed.is_empty() {
        print_line!("failed: {}", failed.join(", "));
    }
    failed.is_empty()
}

/// Suppresses the output of scripted panics.
fn quiet() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<Scripted>().is_none() {
            loud(info);
        }
    }));
}

/// Prints the problems, and returns whether there are none.
fn are_none(problems: &[String]) -> bool {
    for problem in problems {
        print_line!("{problem}");
    }
    problems.is_empty()
}

/// Command lines are parsed to what they should be.
fn arguments(_long: bool) -> bool {
    are_none(&args::wrong())
}

/// The guarantees name each property beside its promise.
fn documented(_long: bool) -> bool {
    let guarantees = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guarantees.md");
    let guarantees = std::fs::read_to_string(guarantees).unwrap();
    let is_named = |property: &&Property| guarantees.contains(&format!("`{property}`"));
    let detail = |property: &Property| format!("docs/guarantees.md does not name the property `{property}`");
    let unnamed: Vec<_> = Property::ALL.iter().filter(|property| !is_named(property)).map(detail).collect();
    are_none(&unnamed)
}

/// The scenarios of seeds are valid and survive serialization; invalid scenarios are refused.
fn scenarios_make_sense(_long: bool) -> bool {
    let problem = |seed: u64| {
        let scenario = Scenario::generate(seed);
        let text = serde_json::to_string(&scenario).unwrap();
        let is_same = serde_json::from_str::<Scenario>(&text).unwrap() == scenario;
        scenario.problem().or_else(|| (!is_same).then(|| "it is read as another one".to_owned()))
    };
    let of_seed = |seed: u64| Some(format!("seed {seed}: {}", problem(seed)?));
    let problems: Vec<_> = (0..SEEDS).filter_map(of_seed).chain(scenario::wrongly_judged()).collect();
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
    print_line!("{TWICE} seeds were run twice: {} differ {different:?}", different.len());
    different.is_empty()
}

fn seeds(long: bool) -> bool {
    if long { storm_for(Duration::from_hours(1)) } else { storm_of(0..SEEDS, Demands::Situations) }
}

fn storm_for(time: Duration) -> bool {
    let started = Instant::now();
    storm_of((0..).take_while(|_| started.elapsed() < time), Demands::Situations)
}

/// Faults that were found once, each with a small scenario: none shows any more, and each does with its mutant.
fn kept_scenarios(_long: bool) -> bool {
    are_none(&match kept::all() {
        Ok(all) => all.iter().filter_map(Kept::problem).collect(),
        Err(problem) => vec![problem],
    })
}

/// Puts each mutant into the code: it must be found within a number of seeds.
fn mutants(_long: bool) -> bool {
    let (next, found) = (Mutex::new(Mutant::ALL.iter()), Mutex::new(Vec::new()));
    // A problem with one of them fails another test.
    let kept = kept::all().unwrap_or_default();
    in_parallel(|| {
        let Some(mutant) = next.lock().unwrap().next() else { return false };
        let started = Instant::now();
        put_back(Some(*mutant));
        // The rarest mutants show in their kept scenarios.
        let kept_fault = kept.iter().find(|kept| kept.puts_back() == Some(*mutant)).and_then(Kept::fault);
        let report = |seed| Some((seed, run(&Scenario::generate(seed), false).fault?));
        let fault = if kept_fault.is_none() { (0..MUTANT_SEEDS).find_map(report) } else { None };
        put_back(None);
        let secs = started.elapsed().as_secs_f64();
        match (&fault, &kept_fault) {
            (Some((seed, fault)), _) => print_line!("{mutant:?}: seed {seed}, {}, {secs:.1} s", fault.property),
            (None, Some((_, fault))) => print_line!("{mutant:?}: kept scenario, {}, {secs:.1} s", fault.property),
            (None, None) => print_line!("{mutant:?}: NOT FOUND in {MUTANT_SEEDS} seeds, {secs:.1} s"),
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
    print_line!(
        "{n_found} of {} mutants were found: {n_of_seeds} by seeds, half of these within {median}",
        found.len()
    );
    proof::note("mutants", found.len());
    proof::note("mutants_caught", n_found);
    n_found == found.len()
}

/// Repeats the work on as many threads as there are processors, until it returns that nothing is left.
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

/// The results of many runs.
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
            print_line!("seed {seed}: {fault}");
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

/// The situations that the seeds must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demands {
    Nothing,
    /// All situations that are demanded, if there are as many seeds as by default.
    Situations,
}

/// Runs seeds, on as many threads as there are processors.
fn storm_of(seeds: impl Iterator<Item = u64> + Send, demands: Demands) -> bool {
    let started = Instant::now();
    let (seeds, sum) = (Mutex::new(seeds), Mutex::new(Sum::default()));
    in_parallel(|| {
        let seed = seeds.lock().unwrap().next();
        let Some(seed) = seed else { return false };
        let report = run(&Scenario::generate(seed), false);
        sum.lock().unwrap().add(seed, report);
        true
    });
    let Sum { seeds, faults, micros, calls, polls, excuses, reached } = sum.into_inner().unwrap();
    let (minutes, took) = (micros / 60_000_000, started.elapsed().as_secs_f64());
    print_line!(
        "{seeds} seeds, {minutes} virtual minutes, {calls} calls, {polls} polls in {took:.1} s: {faults} failed"
    );
    let is_missing = |what: &Reached| what.is_demanded() && !reached.contains_key(what);
    let is_enough = demands == Demands::Situations && seeds >= SEEDS;
    let unreached: Vec<_> = Reached::ALL.iter().filter(|what| is_enough && is_missing(what)).collect();
    for (what, times) in reached {
        print_line!("{times:>8} {what}");
    }
    for (excuse, times) in excuses {
        print_line!("{times:>8} times let pass: {excuse}");
    }
    proof::note("sim_seeds", usize::try_from(seeds).unwrap());
    proof::note("sim_minutes", usize::try_from(minutes).unwrap());
    proof::note("sim_faults", faults);
    if !unreached.is_empty() {
        print_line!("never reached: {}", unreached.iter().map(|what| what.as_str()).collect::<Vec<_>>().join(", "));
    }
    faults == 0 && unreached.is_empty()
}
