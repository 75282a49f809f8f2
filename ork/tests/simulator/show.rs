//! Shows one run: what happened in it, and how to repeat it.

use std::path::Path;

use ork_core::mutant::{Mutant, put_back};
use serde::Serialize as _;

use super::args::{PutBack, Request};
use super::kept::{self, Found, Kept};
use super::oracle::Fault;
use super::print_line::print_line;
use super::scenario::Scenario;
use super::shrink::{Shrunk, shrink};
use super::world::run;

/// The command that runs this program.
const COMMAND: &str = "cargo test --workspace --all-features --test simulator --";

/// Shows the run of a seed, and returns whether it had no fault.
pub(crate) fn show_seed(seed: u64, request: &Request) -> bool {
    let mutant = request.put_back.or(None);
    put_back(mutant);
    Shown { scenario: Scenario::generate(seed), mutant, as_is: request.as_is, option: format!("--seed {seed}") }.show()
}

/// Shows the run of a scenario in a file, and returns whether it had no fault. A kept scenario runs with its mutant,
/// unless the request names another one, or none.
pub(crate) fn show_file(file: &Path, request: &Request) -> Result<bool, String> {
    let found = kept::read(file)?;
    let (scenario, mutant) = match found {
        Found::Scenario(scenario) => {
            put_back(request.put_back.or(None));
            (scenario, request.put_back.or(None))
        }
        Found::Kept(kept) => {
            let mutant = request.put_back.or(kept.puts_back());
            put_back(mutant);
            print_line!("kept: {}\nproperty: {}\nits mutant: {}", kept.fault, kept.property, kept.mutant);
            // Its seed may draw something else by now.
            let shown = if mutant == kept.puts_back() { kept.fault() } else { None };
            let scenario = shown.map_or_else(|| kept.scenario.clone(), |(scenario, _)| scenario);
            if scenario.seed != kept.scenario.seed {
                print_line!("it shows at seed {} now, not at {}", scenario.seed, kept.scenario.seed);
            }
            (scenario, mutant)
        }
    };
    let without = if request.put_back == PutBack::Nothing { " --mutant none" } else { "" };
    let option = format!("--scenario {}{without}", file.display());
    Ok(Shown { scenario, mutant, as_is: request.as_is, option }.show())
}

/// A run that is shown.
struct Shown {
    scenario: Scenario,
    mutant: Option<Mutant>,
    as_is: bool,
    /// The option that requests it.
    option: String,
}

impl Shown {
    fn show(self) -> bool {
        let Self { mut scenario, mutant, as_is, option } = self;
        match mutant {
            Some(mutant) => print_line!("with the mutant {mutant:?}"),
            None => print_line!("without a mutant"),
        }
        let mut report = run(&scenario, true);
        if let Some(fault) = report.fault.as_ref().filter(|_| !as_is) {
            print_line!("{}\nmaking the scenario smaller ..", report.trace.with_numbers(&fault.to_string()));
            let Shrunk { scenario: smaller, runs, is_cut } = shrink(scenario, fault.property);
            let end = if is_cut { ", the maximum; there may be smaller ones" } else { "" };
            print_line!("this is the smallest that was found in {runs} runs{end}\n");
            scenario = smaller;
            report = run(&scenario, true);
        }
        for line in report.trace.lines() {
            print_line!("{}", report.trace.with_numbers(line));
        }
        let with = mutant.map_or_else(String::new, |mutant| format!(" --mutant {mutant:?}"));
        match &report.fault {
            None => print_line!("\nno fault in {} virtual seconds", report.lasted / 1_000_000),
            Some(fault) => print_line!("\n{}", report.trace.with_numbers(&fault.to_string())),
        }
        print_line!("\nthe requested run, not made smaller:\n  {COMMAND} {option}{with} --as-is");
        if let (Some(fault), Some(mutant)) = (&report.fault, mutant) {
            print_line!("the run above, once FILE has the text below:\n  {COMMAND} --scenario FILE --as-is");
            print_line!("a file for ork/tests/simulator/kept, once its fault is described:");
            print_line!("{}", file_of(&scenario, fault, mutant));
        } else {
            print_line!("the run above, once FILE has the line below:\n  {COMMAND} --scenario FILE{with} --as-is");
            print_line!("{}", serde_json::to_string(&scenario).unwrap());
        }
        report.fault.is_none()
    }
}

/// Formats a file of `kept/`.
fn file_of(scenario: &Scenario, fault: &Fault, mutant: Mutant) -> String {
    let kept = Kept {
        fault: fault.detail.clone(),
        property: fault.property,
        mutant: format!("{mutant:?}"),
        scenario: scenario.clone(),
    };
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    kept.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter)).unwrap();
    String::from_utf8(text).unwrap()
}
