//! Rules about the code as text: layers, forbidden names, sizes, documents. `docs/ARCHITECTURE.md` gives the reasons.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure must be loud")]

mod crates;
mod simulator;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use self::tokens::{paths, tokens};

/// The rank of each module, by the longest path that matches. A module may name modules of its own rank and of lower
/// ones.
const LAYERS: &[(u32, &[&str])] = &[
    (
        0,
        &[
            "barrier",
            "clock",
            "document",
            "event",
            "failure",
            "hook",
            "id",
            "job",
            "ledger",
            "message",
            "metric",
            "mutant",
            "output",
            "policy",
            "progress",
            "retry",
            "role",
            "schedule",
            "tree",
            "workflow_run",
        ],
    ),
    (1, &["context", "registry", "schema", "task"]),
    (2, &["broker", "entropy", "executor", "objects", "runtime", "store", "tx"]),
    (3, &["engine"]),
    (4, &["client", "supervisor", "worker"]),
    (5, ADAPTERS),
    (6, &["app", "config"]),
    (7, &["cli"]),
];

/// Only `app` may name these.
const ADAPTERS: &[&str] = &[
    "broker::embedded",
    "clock::system",
    "entropy::system",
    "objects::bucket",
    "runtime::system",
    "store::memory",
    "store::none",
    "store::postgres",
    "store::sqlite",
];

/// Words, each with the only modules that may use it.
const WORDS: &[(&str, &[&str])] = &[
    ("jsonschema", &["task::rules"]),
    ("object_store", &["objects::bucket"]),
    ("rusqlite", &["store::sqlite"]),
    ("sqlx", &["store::postgres"]),
    ("notify", &["store::sqlite"]),
    // The age of the wake files of dead processes is known only from the file system.
    ("SystemTime", &["clock::system", "store::sqlite::wake"]),
    ("Instant", &["clock::system", "store::postgres", "store::sqlite"]),
    ("env", &["config"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("comfy_table", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    ("inventory", &["registry", "task::def"]),
];

/// Words of code that the simulator cannot repeat: threads, timers and random numbers that are not injected. Only
/// adapters, the command line and the modules below may use them.
const UNREPEATABLE: &[&str] = &["block_in_place", "block_on", "fastrand", "new_v4", "now_v7"];
const MAY_USE: &[&str] = &["cli", "id", "task::wait"];

/// Words that pure code may not use.
const IMPURE: &[&str] = &["tokio", "tracing", "async", "await", "fs", "net", "thread", "process"];

/// Modules with pure decisions, besides those of layer 0.
const PURE: &[&str] = &["schema", "task::state", "tx", "worker::window"];

/// The largest number of lines in a file that is easy to keep in mind.
const LONGEST: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns every file below a folder of the workspace whose name ends with `end`, with its text.
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

/// The crates whose modules have layers. Cargo keeps the direction between crates.
const CRATES: [&str; 3] = ["ork-core/src/", "ork-ports/src/", "ork-runtime/src/"];

/// A module: its path in its crate, and the tokens of its file.
struct Module {
    file: String,
    path: Vec<String>,
    tokens: Vec<String>,
}

fn modules() -> Vec<Module> {
    let of = |(file, code): (String, String)| {
        let inner = CRATES.iter().find_map(|folder| file.strip_prefix(folder))?.strip_suffix(".rs")?;
        let inner = inner.strip_suffix("/mod").unwrap_or(inner);
        // The root re-exports, and expanded code may call functions of any layer.
        if matches!(inner, "lib" | "private") {
            return None;
        }
        let path = inner.split('/').map(str::to_owned).collect();
        Some(Module { path, tokens: tokens(&code), file })
    };
    CRATES.iter().flat_map(|folder| files(folder, ".rs")).filter_map(of).collect()
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns the rank of a path, and the entry that determines it.
fn rank(path: &str) -> Option<(u32, &'static str)> {
    let entries = LAYERS.iter().flat_map(|(rank, modules)| modules.iter().map(move |module| (*rank, *module)));
    entries.filter(|(_, module)| is_in(path, module)).max_by_key(|(_, module)| module.len())
}

/// Returns the paths of the names that the root re-exports.
fn exports() -> BTreeMap<String, String> {
    let lib = std::fs::read_to_string(root().join("ork-runtime/src/lib.rs")).unwrap();
    let tokens = tokens(&lib);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if tokens[at..].starts_with(&["pub".to_owned(), "use".to_owned()]) {
            paths(&tokens[at + 2..], &[], &mut found);
        }
    }
    let own = found.into_iter().filter(|path| rank(&path.join("::")).is_some());
    own.map(|path| (path.last().unwrap().clone(), path.join("::"))).collect()
}

/// Returns every path of this crate that a module names, from the root.
fn named(module: &Module, exports: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut all = Vec::new();
    let tokens = &module.tokens;
    for at in 0..tokens.len() {
        let is_start = tokens.get(at + 1).is_some_and(|next| next == "::") && (at == 0 || tokens[at - 1] != "::");
        if !is_start {
            continue;
        }
        let (mut base, mut next) = match tokens[at].as_str() {
            "crate" => (Vec::new(), at + 2),
            "super" => (module.path[..module.path.len() - 1].to_vec(), at + 2),
            _ => continue,
        };
        while tokens[next] == "super" {
            base.pop();
            next += 2;
        }
        paths(&tokens[next..], &base, &mut all);
    }
    let resolved = all.into_iter().map(|mut path| {
        if let Some(export) = path.first().and_then(|first| exports.get(first)) {
            path[0].clone_from(export);
        }
        path.join("::")
    });
    resolved.collect()
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn modules_name_only_their_own_layer_and_lower_ones() {
    let (exports, mut problems, mut seen) = (exports(), Vec::new(), 0);
    for module in modules() {
        let own = module.path.join("::");
        let (own_rank, _) = rank(&own).unwrap_or_else(|| panic!("{} has no layer", module.file));
        for path in named(&module, &exports) {
            let Some((rank, layer)) = rank(&path) else {
                problems.push(format!("{}: `{path}` has no layer", module.file));
                continue;
            };
            seen += 1;
            if rank > own_rank {
                problems.push(format!("{}: layer {own_rank} names `{path}` of layer {rank}", module.file));
            }
            if ADAPTERS.contains(&layer) && !is_in(&own, layer) && !is_in(&own, "app") {
                problems.push(format!("{}: only `app` selects adapters, this names `{path}`", module.file));
            }
        }
    }
    assert!(seen > 300, "only {seen} names were checked");
    none(&problems);
}

#[test]
fn restricted_words_stay_in_their_modules() {
    let mut problems = Vec::new();
    for module in modules() {
        let own = module.path.join("::");
        for (word, places) in WORDS {
            // The word may also be a field, or another module of this crate.
            let uses = module.tokens.windows(2).any(|pair| pair[0] == *word && matches!(pair[1].as_str(), "::" | ";"));
            if uses && !places.iter().any(|place| is_in(&own, place)) {
                problems.push(format!("{}: only {places:?} may use `{word}`", module.file));
            }
        }
        let is_pure = PURE.iter().any(|pure| is_in(&own, pure)) || rank(&own).is_some_and(|(rank, _)| rank == 0);
        for word in IMPURE.iter().filter(|_| is_pure) {
            let uses =
                module.tokens.windows(2).any(|pair| pair[0] == *word && (pair[1] == "::" || word.starts_with('a')));
            if uses {
                problems.push(format!("{}: pure code must not use `{word}`", module.file));
            }
        }
    }
    none(&problems);
}

/// The simulator repeats a run of this code from its seed: `docs/decisions/0030-the-simulator.md`.
#[test]
fn core_is_deterministic() {
    let (mut problems, mut n_selects) = (Vec::new(), 0);
    for module in modules() {
        let own = module.path.join("::");
        if ADAPTERS.iter().chain(MAY_USE).any(|place| is_in(&own, place)) || own.ends_with("::tests") {
            continue;
        }
        for word in UNREPEATABLE.iter().filter(|word| module.tokens.iter().any(|token| token == *word)) {
            problems.push(format!("{}: only adapters use `{word}`", module.file));
        }
        for five in module.tokens.windows(5) {
            let [first, second, third, fourth, _] = five else { unreachable!("five tokens") };
            if first == "tokio" && second == "::" && matches!(third.as_str(), "spawn" | "time") {
                problems.push(format!("{}: only adapters use `tokio::{third}`", module.file));
            }
            if first != "runtime" && second == "." && third == "spawn" && fourth == "(" {
                problems.push(format!("{}: `{first}.spawn` is not a port, `Runtime::spawn` is", module.file));
            }
            if first == "select" && second == "!" {
                n_selects += 1;
                if fourth != "biased" {
                    problems.push(format!("{}: this `select!` begins with any of its branches", module.file));
                }
            }
        }
    }
    assert!(n_selects > 40, "only {n_selects} were checked");
    none(&problems);
}

#[test]
fn files_are_short_and_begin_with_a_description() {
    let mut problems = Vec::new();
    let members = [
        "ork-amqp",
        "ork-core",
        "ork-executor",
        "ork-macros",
        "ork-ports",
        "ork-runtime",
        "ork-test-support",
        "ork-workflow",
        "ork-derive-tests",
        "examples",
    ];
    for (file, code) in members.iter().flat_map(|member| files(member, ".rs")) {
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
    let crates = ["ork-amqp", "ork-core", "ork-executor", "ork-macros", "ork-ports", "ork-runtime", "ork-workflow"];
    let mut all: Vec<_> = crates.iter().flat_map(|name| files(&format!("{name}/src"), ".rs")).collect();
    all.extend(files("docs", ".md"));
    all.extend(files("", "README.md"));
    for (file, text) in &all {
        let fence = |line: &str| line.contains("```") && line.contains("ignore");
        if text.lines().any(fence) {
            problems.push(format!("{file} has an example that is never compiled"));
        }
    }
    let lib = std::fs::read_to_string(root().join("ork-runtime/src/lib.rs")).unwrap();
    for (file, text) in all.iter().filter(|(file, _)| Path::new(file).extension().is_some_and(|end| end == "md")) {
        if text.contains("```rust") && !lib.contains(file.as_str()) {
            problems.push(format!("{file} has Rust in it and is not doctested by ork-runtime/src/lib.rs"));
        }
    }
    none(&problems);
}

#[test]
fn every_document_is_linked_and_every_link_resolves() {
    let documents = files("docs", ".md");
    let mut all = documents.clone();
    all.extend(files("", "README.md").into_iter().filter(|(file, _)| file == "README.md"));
    let (mut problems, mut linked) = (Vec::new(), BTreeSet::new());
    for (file, text) in &all {
        let from = root().join(file).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let target = from.join(link.split('#').next().unwrap());
            match target.canonicalize() {
                Ok(target) if file == "README.md" || file.ends_with("ARCHITECTURE.md") => drop(linked.insert(target)),
                Ok(_) => {}
                Err(_) => problems.push(format!("{file}: {link} does not resolve")),
            }
        }
    }
    for (file, _) in &documents {
        let path = root().join(file).canonicalize().unwrap();
        if !linked.contains(&path) {
            problems.push(format!("{file} is linked neither from README.md nor from docs/ARCHITECTURE.md"));
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
