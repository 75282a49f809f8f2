//! The manual of the simulator: its commands, options, files, and the kinds of lines of a timeline.

use std::collections::BTreeSet;

use super::{files, missing_tests, none, root};

const PLACE: &str = "ork/tests/simulator";

fn manual() -> String {
    std::fs::read_to_string(root().join("docs/simulator.md")).unwrap()
}

/// The text outside of fenced blocks.
fn prose(manual: &str) -> String {
    manual.split("```").step_by(2).collect()
}

/// The commands in a text that run the simulator, each from `cargo` on.
fn commands(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.find("cargo test ").map(|at| &line[at..]));
    lines.filter(|line| line.contains("--test simulator")).collect()
}

#[test]
fn documented_commands_of_the_simulator_can_be_run() {
    let (mut problems, mut seen) = (Vec::new(), 0);
    let mut all = files("docs", ".md");
    all.extend(files(PLACE, ".rs"));
    let args = std::fs::read_to_string(root().join(PLACE).join("args.rs")).unwrap();
    for (file, text) in &all {
        for command in commands(text) {
            seen += 1;
            if !command.starts_with("cargo test --workspace --all-features --test simulator") {
                problems.push(format!("{file}: `{command}` builds something else"));
            }
            let arguments: Vec<_> = command.split(" -- ").nth(1).unwrap_or_default().split_whitespace().collect();
            for option in arguments.iter().filter(|word| word.starts_with("--")) {
                if !args.contains(&format!("\"{option}\"")) {
                    problems.push(format!("{file}: `{command}` has an unknown option"));
                }
            }
            let value_of = |option: &str| arguments.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1]);
            let is_mutant =
                |name: &str| ork_core::mutant::Mutant::ALL.iter().any(|mutant| format!("{mutant:?}") == name);
            if value_of("--mutant").is_some_and(|name| !is_mutant(name)) {
                problems.push(format!("{file}: `{command}` has an unknown mutant"));
            }
            if value_of("--scenario").is_some_and(|path| path != "FILE" && !root().join(path).exists()) {
                problems.push(format!("{file}: `{command}` names a file that does not exist"));
            }
        }
    }
    assert!(seen > 15, "only {seen} commands were checked");
    none(&problems);
}

#[test]
fn the_manual_of_the_simulator_names_existing_tests_and_files() {
    let manual = prose(&manual());
    let (mut problems, _) = missing_tests(&manual);
    // The name of a test in the list of all tests.
    let main = std::fs::read_to_string(root().join(PLACE).join("main.rs")).unwrap();
    for test in ["seeds", "mutants", "kept_scenarios", "documented"] {
        if !main.contains(&format!("(\"{test}\", {test})")) || !manual.contains(test) {
            problems.push(format!("there is no test `{test}`, or the manual does not name it"));
        }
    }
    for name in manual.split('`').skip(1).step_by(2).filter(|name| name.starts_with("ork-runtime/")) {
        if !root().join(name).exists() {
            problems.push(format!("{name} does not exist"));
        }
    }
    none(&problems);
}

/// The first words of trace lines. Lines that begin with a value are explained beside the table.
fn verbs() -> BTreeSet<String> {
    let mut verbs = BTreeSet::new();
    for (_, code) in files(PLACE, ".rs") {
        for call in code.split("note(").chain(code.split("note_for(")).skip(1) {
            let Some((before, rest)) = call.split_once("format_args!(\"") else { continue };
            let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
            if before.lines().count() <= 2 && !before.contains(';') && !word.is_empty() {
                verbs.insert(word);
            }
        }
    }
    verbs
}

#[test]
fn the_manual_of_the_simulator_explains_each_kind_of_line() {
    let manual = manual();
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let explained: BTreeSet<_> = rows.map(str::to_owned).collect();
    let noted = verbs();
    assert!(noted.len() > 20, "only {noted:?} were found");
    let problems: Vec<_> = noted
        .symmetric_difference(&explained)
        .map(|verb| format!("`{verb}` is printed, or explained, not both"))
        .collect();
    none(&problems);
}
