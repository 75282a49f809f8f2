//! The simulator repeats a run of this code from its seed: `docs/decisions/0030-the-simulator.md`. So the code uses no
//! thread, timer or random number that is not injected.

use super::tokens::tokens;
use super::{files, none};

/// The crates that run in the simulator.
const CRATES: [&str; 3] = ["ork-core", "ork-ports", "ork-runtime"];

/// The adapters, which the simulator replaces, and the helpers of tests.
const REPLACED: [&str; 7] = [
    "ork-runtime/src/broker/embedded.rs",
    "ork-runtime/src/clock/system.rs",
    "ork-runtime/src/entropy/system.rs",
    "ork-runtime/src/objects/bucket.rs",
    "ork-runtime/src/runtime/system.rs",
    "ork-runtime/src/store/memory/",
    "/tests.rs",
];

/// Words of code that a seed cannot repeat, and the files that may use them nevertheless.
const UNREPEATABLE: [(&str, &[&str]); 5] = [
    ("block_in_place", &["ork-runtime/src/task/wait.rs"]),
    ("block_on", &["ork-runtime/src/task/wait.rs"]),
    ("fastrand", &[]),
    ("new_v4", &["ork-core/src/id.rs"]),
    ("now_v7", &["ork-core/src/id.rs"]),
];

/// Words that pure code does not use: it has no I/O and waits for nothing.
const IMPURE: [&str; 8] = ["async", "await", "fs", "net", "process", "thread", "tokio", "tracing"];

/// The files of pure code.
const PURE: [&str; 4] =
    ["ork-core/src/", "ork-runtime/src/schema/", "ork-runtime/src/task/state.rs", "ork-runtime/src/worker/window.rs"];

fn sources() -> impl Iterator<Item = (String, Vec<String>)> {
    let all = CRATES.iter().flat_map(|name| files(&format!("{name}/src"), ".rs"));
    let kept = all.filter(|(file, _)| !REPLACED.iter().any(|place| file.contains(place)));
    kept.map(|(file, code)| (file, tokens(&code)))
}

#[test]
fn simulated_code_uses_no_thread_timer_or_random_number_of_the_system() {
    let (mut problems, mut n_selects) = (Vec::new(), 0);
    for (file, tokens) in sources() {
        for (word, places) in UNREPEATABLE {
            if tokens.iter().any(|token| token == word) && !places.contains(&file.as_str()) {
                problems.push(format!("{file}: only adapters use `{word}`"));
            }
        }
        for five in tokens.windows(5) {
            let [first, second, third, fourth, _] = five else { unreachable!("five tokens") };
            if first == "tokio" && second == "::" && matches!(third.as_str(), "spawn" | "time") {
                problems.push(format!("{file}: only adapters use `tokio::{third}`"));
            }
            if first != "runtime" && second == "." && third == "spawn" && fourth == "(" {
                problems.push(format!("{file}: `{first}.spawn` is not a port, `Runtime::spawn` is"));
            }
            if first == "select" && second == "!" {
                n_selects += 1;
                if fourth != "biased" {
                    problems.push(format!("{file}: this `select!` begins with any of its branches"));
                }
            }
        }
    }
    assert!(n_selects > 40, "only {n_selects} were checked");
    none(&problems);
}

/// The manifest keeps runtimes out of the core, and this keeps the I/O of the standard library out.
#[test]
fn pure_code_does_no_io() {
    let (mut problems, mut n_files) = (Vec::new(), 0);
    for (file, tokens) in sources().filter(|(file, _)| PURE.iter().any(|place| file.starts_with(place))) {
        n_files += 1;
        for word in IMPURE {
            let uses = tokens.windows(2).any(|pair| pair[0] == word && (pair[1] == "::" || word.starts_with('a')));
            if uses {
                problems.push(format!("{file}: pure code must not use `{word}`"));
            }
        }
    }
    assert!(n_files > 40, "only {n_files} files were checked");
    none(&problems);
}
