//! Rules about the code as text: import cycles, dependencies, sizes, documents, what a simulation can repeat.
//! `docs/ARCHITECTURE.md` gives the reasons.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failure must be loud")]

mod benches;
mod crates;
mod cycles;
mod repeatable;
mod simulator;
mod tokens;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use self::tokens::tokens;

/// The largest number of lines in a file that is easy to keep in mind.
const LONGEST: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the path and the text of every file below a folder of the workspace that has this ending.
fn files(folder: &str, end: &str) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
            if path.is_dir() && !hidden && !path.ends_with("target") {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {end} in {folder}");
    found
}

/// Returns the folders of the crates that are published, and of those that only tests use.
fn crates() -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let line = manifest.lines().find(|line| line.starts_with("members = ")).unwrap();
    let members: Vec<_> = line.split('"').skip(1).step_by(2).filter(|name| name.starts_with("ork")).collect();
    assert!(members.len() > 10, "{members:?}");
    members.into_iter().map(str::to_owned).collect()
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn files_are_short_and_begin_with_a_description() {
    let mut problems = Vec::new();
    let members = crates().into_iter().chain(["examples".to_owned()]);
    for (file, code) in members.flat_map(|member| files(&member, ".rs")) {
        let lines = code.lines().count();
        if lines > LONGEST {
            problems.push(format!("{file} has {lines} lines, at most {LONGEST} are allowed"));
        }
        if file.contains("/src/") && !code.starts_with("//!") {
            problems.push(format!("{file} does not begin with a description"));
        }
        if tokens(&code).windows(2).any(|pair| pair == ["todo", "!"] || pair == ["unimplemented", "!"]) {
            problems.push(format!("{file} is not finished"));
        }
    }
    none(&problems);
}

#[test]
fn every_example_is_tested() {
    let mut problems = Vec::new();
    let mut all: Vec<_> = crates().iter().flat_map(|name| files(&format!("{name}/src"), ".rs")).collect();
    all.extend(files("docs", ".md"));
    all.extend(files("", "README.md"));
    for (file, text) in &all {
        let fence = |line: &str| line.contains("```") && line.contains("ignore");
        if text.lines().any(fence) {
            problems.push(format!("{file} has an example that is never compiled"));
        }
    }
    let lib = std::fs::read_to_string(root().join("ork/src/lib.rs")).unwrap();
    for (file, text) in all.iter().filter(|(file, _)| Path::new(file).extension().is_some_and(|end| end == "md")) {
        if text.contains("```rust") && !lib.contains(file.as_str()) {
            problems.push(format!("{file} has Rust in it and is not doctested by ork/src/lib.rs"));
        }
    }
    none(&problems);
}

#[test]
fn every_document_is_linked_and_every_link_resolves() {
    let documents = files("docs", ".md");
    let mut all = documents.clone();
    all.extend(files("", ".md").into_iter().filter(|(file, _)| file == "README.md" || file == "CONTRIBUTING.md"));
    let (mut problems, mut linked) = (Vec::new(), BTreeSet::new());
    for (file, text) in &all {
        let from = root().join(file).parent().unwrap().to_owned();
        let is_index = ["README.md", "ARCHITECTURE.md"].iter().any(|index| file.ends_with(index));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let target = from.join(link.split('#').next().unwrap());
            match target.canonicalize() {
                Ok(target) if is_index => drop(linked.insert(target)),
                Ok(_) => {}
                Err(_) => problems.push(format!("{file}: {link} does not resolve")),
            }
        }
    }
    for (file, _) in &documents {
        let path = root().join(file).canonicalize().unwrap();
        if !linked.contains(&path) {
            problems.push(format!(
                "{file} is linked neither from README.md nor from docs/README.md nor from docs/ARCHITECTURE.md"
            ));
        }
    }
    none(&problems);
}

/// The README's commands are run by `examples/tests/readme.rs`; those for contributors would run all tests again.
#[test]
fn commands_for_contributors_name_what_exists() {
    let text = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let commands: Vec<_> =
        text.split('`').chain(blocks).filter(|code| code.contains("cargo ") || code.starts_with(".ci/")).collect();
    assert!(commands.len() > 7, "{commands:?}");
    let mut problems = Vec::new();
    for command in commands.into_iter().filter(|command| !command.contains('\n')) {
        let words: Vec<_> = command.split_whitespace().collect();
        let is_there = |path: String| ["", ".rs"].iter().any(|end| root().join(format!("{path}{end}")).exists());
        let package = words.windows(2).find(|pair| pair[0] == "-p").map_or("ork", |pair| pair[1]);
        let script = words.iter().filter(|word| word.starts_with(".ci/")).map(|word| (*word).to_owned());
        let targets = words.windows(2).filter_map(|pair| match pair[0] {
            "-p" => Some(pair[1].to_owned()),
            // `contract-store` is in the folder `contract/store`.
            "--test" => Some(format!("{package}/tests/{}", pair[1].replace('-', "/"))),
            "--bench" => Some(format!("{package}/benches/{}", pair[1])),
            _ => None,
        });
        for missing in script.chain(targets).filter(|path| !is_there(path.clone())) {
            problems.push(format!("CONTRIBUTING.md: `{command}`: there is no {missing}"));
        }
    }
    none(&problems);
}

/// Returns the names under a heading of a manifest.
fn table<'t>(manifest: &'t str, heading: &str) -> Vec<&'t str> {
    let lines = manifest.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| line.split(['=', '.', ' ']).next())
        .filter(|name| !name.is_empty() && *name != "#")
        .collect()
}

#[test]
fn dependencies_are_sorted_and_each_is_justified() {
    let mut problems = Vec::new();
    for (file, manifest) in files("", "Cargo.toml") {
        for heading in ["[workspace.dependencies]", "[dependencies]", "[dev-dependencies]"] {
            let names = table(&manifest, heading);
            if !names.is_sorted() {
                problems.push(format!("{file}: {heading} is not in alphabetical order"));
            }
        }
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let architecture = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let known = table(&manifest, "[workspace.dependencies]");
    assert!(known.len() > 20, "{known:?}");
    for name in known.into_iter().filter(|name| !name.starts_with("ork")) {
        if !architecture.contains(&format!("`{name}`")) {
            problems.push(format!("docs/ARCHITECTURE.md does not give a reason for `{name}`"));
        }
    }
    none(&problems);
}

/// Reads a file that a document names.
fn named_file(file: &str) -> Option<String> {
    let places = ["ork/tests", ""];
    places.iter().find_map(|place| std::fs::read_to_string(root().join(place).join(file)).ok())
}

/// Returns the tests that a document names and that do not exist, and how many it names.
fn missing_tests(document: &str) -> (Vec<String>, usize) {
    let (mut problems, mut tests) = (Vec::new(), 0);
    for name in
        document.split('`').skip(1).step_by(2).filter(|name| [".rs", ".json"].iter().any(|end| name.contains(end)))
    {
        let (file, test) = name.split_once("::").unwrap_or((name, ""));
        let Some(code) = named_file(file) else {
            problems.push(format!("there is no file {file}"));
            continue;
        };
        if test.is_empty() {
            continue;
        }
        tests += 1;
        // A case of the contract is a test through a macro that lists it.
        let is_test = code.contains(&format!("fn {test}("));
        if !is_test {
            problems.push(format!("there is no test {test} in {file}"));
        }
    }
    (problems, tests)
}

#[test]
fn every_test_that_a_document_names_exists() {
    let read = |name: &str| std::fs::read_to_string(root().join("docs").join(name)).unwrap();
    let (problems, tests) = missing_tests(&read("behaviours.md"));
    assert!(tests > 40, "only {tests} tests are named");
    none(&problems);
    let document = read("guarantees.md");
    let (problems, tests) = missing_tests(&document);
    assert!(tests > 40, "only {tests} tests are named");
    let rows = document.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split(' ').nth(1));
    assert!(rows.filter_map(|row| row.parse::<u32>().ok()).eq(1..=43), "a row is missing");
    none(&problems);
}

#[test]
fn documented_states_and_transitions_match_the_code() {
    let document = std::fs::read_to_string(root().join("docs/states.md")).unwrap();
    let (jobs, parts) = document.split_once("## Parts").unwrap();
    for state in ork::JobState::ALL {
        let word = state.as_str();
        assert!(jobs.contains(&format!("| `{word}` |")), "`{word}` is not described");
        let ends = format!("    {word} --> [*]");
        assert_eq!(jobs.contains(&ends), state.is_final(), "the end of `{word}`");
    }
    for how in [
        ork_core::ledger::PartResult::Succeeded,
        ork_core::ledger::PartResult::Failed,
        ork_core::ledger::PartResult::Skipped,
        ork_core::ledger::PartResult::Cancelled,
    ] {
        assert!(parts.contains(&format!("    {} --> [*]", how.as_str())), "{how:?}");
    }
    // Each arrow between two states has its line, and each line its arrow.
    for text in [jobs, parts] {
        let (mut drawn, mut described) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            let (line, set) = match line.strip_prefix("- ") {
                Some(line) => (line.replace('`', ""), &mut described),
                None => (line.to_owned(), &mut drawn),
            };
            if let Some((from, to)) = line.split_once(" --> ").or_else(|| line.split_once(" → ")) {
                let to = to.split([':', ' ']).next().unwrap();
                if to != "[*]" && from.trim() != "[*]" {
                    set.insert((from.trim().to_owned(), to.to_owned()));
                }
            }
        }
        let mut differences = String::new();
        drawn.symmetric_difference(&described).for_each(|pair| writeln!(differences, "{pair:?}").unwrap());
        assert!(differences.is_empty() && !drawn.is_empty(), "drawn or described, not both:\n{differences}");
    }
}
