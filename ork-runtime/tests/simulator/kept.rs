//! The scenarios that are kept: each showed a fault, was made smaller, and is a file. A seed would mean something else
//! after the next change of what seeds come to.

use std::path::Path;

use ork::mutant::{Mutant, put_back};
use serde::Deserialize;

use super::args::named;
use super::oracle::Fault;
use super::scenario::Scenario;
use super::world::run;

/// A fault that was mended.
#[derive(Debug, Deserialize)]
pub(crate) struct Kept {
    /// What was wrong.
    fault: String,
    /// The property that was false.
    property: String,
    /// What puts it back.
    mutant: String,
    scenario: Scenario,
}

/// All that are kept, in the order of their files.
pub(crate) fn all() -> Vec<Kept> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulator/kept");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &std::path::PathBuf| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    files.iter().map(read).collect()
}

/// The order of futures and all delays are drawn, so that a change of ork or of the simulator may stop a seed from
/// showing the fault. So many others are tried then.
const SEEDS: u64 = 300;

/// At so many seeds it must not show without its mutant.
const WITHOUT: u64 = 20;

impl Kept {
    /// Whether this fault is put back by it.
    pub(crate) fn is_of(&self, mutant: Mutant) -> bool {
        named(&self.mutant) == Some(mutant)
    }

    /// The first seed at which the scenario shows its fault as things are, and that fault.
    pub(crate) fn fault(&self) -> Option<(Scenario, Fault)> {
        (self.scenario.seed..).take(SEEDS.try_into().unwrap_or(usize::MAX)).find_map(|seed| {
            let scenario = Scenario { seed, ..self.scenario.clone() };
            let fault = run(&scenario, false).fault.filter(|fault| fault.property == self.property)?;
            Some((scenario, fault))
        })
    }

    /// What is wrong with it, if it is there again, or if nothing would notice.
    pub(crate) fn problem(&self) -> Option<String> {
        let Some(mutant) = named(&self.mutant) else {
            return Some(format!("{}: there is no mutant `{}`", self.fault, self.mutant));
        };
        put_back(Some(mutant));
        let found = self.fault();
        put_back(None);
        let Some((scenario, _)) = found else {
            return Some(format!("{}: with {mutant:?} it does not show", self.fault));
        };
        if scenario.seed != self.scenario.seed {
            println!("{}: shows at seed {}", self.fault, scenario.seed);
        }
        // As the order is drawn, it must not show at the next seeds either.
        let fault = (scenario.seed..scenario.seed + WITHOUT)
            .find_map(|seed| run(&Scenario { seed, ..scenario.clone() }, false).fault)?;
        Some(format!("{}: {}: {}", self.fault, fault.property, fault.words))
    }
}
