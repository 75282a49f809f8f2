//! The kept scenarios: each has shown a fault, was made smaller, and is a file. A seed would mean something else after
//! the next change of what seeds generate.
//!
//! Such a file is made of a run with a mutant: `--seed 17 --mutant NAME` prints it at its end if the mutant shows a
//! fault. Its `fault` is then replaced by a description of what was wrong. `docs/simulator.md` has all the steps.

use std::path::{Path, PathBuf};

use ork_core::mutant::{Mutant, put_back};
use serde::{Deserialize, Serialize};

use super::args::named;
use super::names::Property;
use super::oracle::Fault;
use super::print_line::print_line;
use super::scenario::Scenario;
use super::world::run;

/// A fault that was fixed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// A description of the fault.
    pub(crate) fault: String,
    /// The property that was false.
    pub(crate) property: Property,
    /// The name of the mutant that puts it back.
    pub(crate) mutant: String,
    pub(crate) scenario: Scenario,
}

/// The content of a file.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Scenario(Scenario),
    Kept(Box<Kept>),
}

/// Reads a file that was named on the command line. `cargo test` runs this program in the folder of its package, so
/// that a path is tried from the root of the workspace, too.
fn text_of(path: &Path) -> Result<String, String> {
    let of_root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let found = [path, &of_root].into_iter().find(|path| path.exists());
    let places = if path.is_absolute() { "" } else { ", neither here nor in the root of the workspace" };
    let found = found.ok_or_else(|| format!("there is no such file{places}"))?;
    std::fs::read_to_string(found).map_err(|reason| reason.to_string())
}

/// Parses the text of a file.
fn found_in(text: &str) -> Result<Found, String> {
    let detail = |reason: serde_json::Error| reason.to_string();
    let any: serde_json::Value = serde_json::from_str(text).map_err(detail)?;
    // Each type is parsed by itself, so that an error names its line.
    let found = if any.get("scenario").is_some() {
        Found::Kept(serde_json::from_str(text).map_err(detail)?)
    } else {
        Found::Scenario(serde_json::from_str(text).map_err(detail)?)
    };
    let problem = match &found {
        Found::Scenario(scenario) => scenario.problem(),
        Found::Kept(kept) => kept.scenario.problem().or_else(|| kept.problem_of_mutant()),
    };
    problem.map_or(Ok(found), Err)
}

/// Reads a scenario, or a file of `kept/`.
pub(crate) fn read(path: &Path) -> Result<Found, String> {
    let found = text_of(path).and_then(|text| found_in(&text));
    found.map_err(|detail| format!("{}: {detail}", path.display()))
}

/// Reads all kept scenarios, in the order of their files.
pub(crate) fn all() -> Result<Vec<Kept>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulator/kept");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let kept = |file: &PathBuf| match read(file)? {
        Found::Kept(kept) => Ok(*kept),
        Found::Scenario(_) => Err(format!("{}: it has neither a fault nor a mutant", file.display())),
    };
    files.iter().map(kept).collect()
}

/// The order of futures and all delays are drawn, so that a change of ork or of the simulator may stop a seed from
/// showing the fault. In that case this many further seeds are tried.
const SEEDS: u64 = 300;

/// The fault must not show without its mutant at this many seeds.
const WITHOUT: u64 = 20;

impl Kept {
    fn problem_of_mutant(&self) -> Option<String> {
        self.puts_back().is_none().then(|| format!("there is no mutant `{}`", self.mutant))
    }

    /// The mutant that puts the fault back.
    pub(crate) fn puts_back(&self) -> Option<Mutant> {
        named(&self.mutant)
    }

    /// Returns the first seed at which the scenario shows its fault with the code as it is, and that fault.
    pub(crate) fn fault(&self) -> Option<(Scenario, Fault)> {
        (self.scenario.seed..).take(SEEDS.try_into().unwrap_or(usize::MAX)).find_map(|seed| {
            let scenario = Scenario { seed, ..self.scenario.clone() };
            let fault = run(&scenario, false).fault.filter(|fault| fault.property == self.property)?;
            Some((scenario, fault))
        })
    }

    /// Describes what is wrong: the fault is there again, or no check would notice it.
    pub(crate) fn problem(&self) -> Option<String> {
        let Some(mutant) = self.puts_back() else { return self.problem_of_mutant() };
        put_back(Some(mutant));
        let found = self.fault();
        put_back(None);
        let Some((scenario, _)) = found else {
            return Some(format!("{}: with {mutant:?} it does not show", self.fault));
        };
        if scenario.seed != self.scenario.seed {
            print_line!("{}: shows at seed {}", self.fault, scenario.seed);
        }
        // As the order is drawn, the fault must not show at the next seeds either.
        let fault = (scenario.seed..scenario.seed + WITHOUT)
            .find_map(|seed| run(&Scenario { seed, ..scenario.clone() }, false).fault)?;
        Some(format!("{}: {}: {}", self.fault, fault.property, fault.detail))
    }
}
