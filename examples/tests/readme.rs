//! Runs every command of the README as it is printed there, with the programs of this build.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use ork_test_support::postgres;
mod support;

use std::path::{Path, PathBuf};

use support::blocks::Block;
use support::{Place, Process, exe, tree};

const README: &str = include_str!("../../README.md");

const CONFIGURATION: &str = include_str!("../../docs/configuration.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn blocks() -> Vec<Block> {
    support::blocks::blocks(README)
}

/// Returns the blocks with this info string.
fn with_info(info: &str) -> Vec<Block> {
    blocks().into_iter().filter(|block| block.info == info).collect()
}

/// Returns the arguments of a command that runs `loc`, whatever features it is built with; any other command is an
/// error.
fn loc(line: &str) -> &str {
    let command = line.split_once(" --bin loc -- ").filter(|(cargo, _)| {
        let words: Vec<_> = cargo.split(' ').collect();
        matches!(words[..], ["cargo", "run", "--release", "-p", "ork-examples", ..])
    });
    command.unwrap_or_else(|| panic!("not run: {line}")).1
}

/// A folder with a source tree to count.
fn place() -> Place {
    let place = Place::new();
    tree(&place, 9, 1);
    place
}

fn total(table: &str) -> Vec<&str> {
    table.lines().last().unwrap().split_whitespace().collect()
}

const NINE: [&str; 6] = ["total", "9", "27", "9", "9", "9"];

#[test]
fn first_commands_count_and_list_the_job() {
    let [count, list] = &with_info("sh")[..2] else { panic!() };
    let place = place();
    let table = place.run(exe!("loc"), loc(count.lines[0])).ok();
    assert_eq!(total(&table), NINE);
    // The README shows the head of the table.
    let head = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(head(table.lines().next().unwrap()), head(with_info("text")[0].lines[0]));
    let jobs = place.run(exe!("loc"), loc(list.lines[0])).ok();
    assert!(jobs.contains("loc") && jobs.contains("succeeded"), "{jobs}");
}

#[test]
fn test_it_is_one_command_that_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(with_info("sh").last().unwrap().lines, [".ci/test"]);
    // The script runs this test, so it is not run here.
    let script = std::fs::metadata(root().join(".ci/test")).expect(".ci/test is there");
    assert!(script.is_file() && script.permissions().mode() & 0o111 == 0o111, "it may be executed");
}

#[test]
fn the_proof_can_be_run_and_is_part_of_ci() {
    use std::os::unix::fs::PermissionsExt as _;
    assert!(README.contains("(.ci/prove)"));
    let script = std::fs::metadata(root().join(".ci/prove")).expect(".ci/prove is there");
    assert!(script.permissions().mode() & 0o111 == 0o111, "it may be executed");
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect(".ci/run is there");
    // With `--of`, CI takes the figures of the proof from the tests that it has already run, which include each kind
    // of proof.
    assert!(ci.lines().any(|line| line == "step .ci/test"), "{ci}");
    assert!(ci.lines().any(|line| line.starts_with("step .ci/prove --of ")), "{ci}");
}

/// Starts the workers of a block, runs the other commands to their end, and stops the workers.
fn with_workers(blocks: &[Block], services: &[(&str, &str)]) {
    let place = place();
    // A separate queue on the shared broker: workers with another store would otherwise take these messages.
    let prefix = format!("readme-{}", &uuid::Uuid::now_v7().simple().to_string()[20..]);
    let mut workers = Vec::new();
    let mut results = 0;
    for block in blocks {
        let mut variables = Vec::new();
        for line in &block.lines {
            if let Some(variable) = line.strip_prefix("export ") {
                let (name, value) = variable.split_once('=').unwrap();
                let here = services.iter().find(|(service, _)| *service == name);
                variables.push((name, here.map_or(value, |(_, url)| *url)));
                continue;
            }
            let args: Vec<_> = loc(line).split_whitespace().collect();
            let start = || {
                let mut command = place.command(exe!("loc"), &args);
                command.envs(variables.iter().copied()).env("ORK_PREFIX", &prefix);
                Process::start(command)
            };
            if args == ["worker"] {
                for _ in 0..2 {
                    let mut worker = start();
                    worker.err_line(|line| line.contains("worker ready"));
                    workers.push(worker);
                }
            } else {
                assert_eq!(total(&start().end().ok()), NINE);
                results += 1;
            }
        }
    }
    assert_eq!((workers.len(), results), (2, 1));
    for worker in workers {
        worker.signal("TERM");
        assert_eq!(worker.end().code, Some(0));
    }
}

#[test]
fn several_workers_share_a_broker() {
    let blocks = with_info("sh amqp");
    assert_eq!(blocks.len(), 2);
    let Some(url) = broker() else { return };
    with_workers(&blocks, &[("ORK_BROKER", &url)]);
}

#[test]
fn workers_on_many_computers_share_a_broker_and_a_database() {
    let blocks = with_info("sh shared");
    assert_eq!(blocks.len(), 2);
    let Some(url) = broker() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(database) = runtime.block_on(postgres::database()) else { return };
    with_workers(&blocks, &[("ORK_BROKER", &url), ("ORK_STORE", &database)]);
}

/// Returns the URL of RabbitMQ; `None` if there is none and none is required.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the environment decides whether there is a RabbitMQ"
)]
fn broker() -> Option<String> {
    if let Ok(url) = std::env::var("ORK_TEST_AMQP_URL") {
        return Some(url);
    }
    let required = std::env::var("ORK_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| word == "amqp"), "ORK_TEST_AMQP_URL is not set");
    eprintln!("skipped: ORK_TEST_AMQP_URL is not set");
    None
}

/// Creates a program in a new folder, and gets its first result.
#[test]
fn a_new_program_is_created_and_run() {
    let place = Place::new();
    std::os::unix::fs::symlink(root(), place.path().join("ork")).unwrap();
    let blocks = with_info("sh own");
    let [make, run, submit] = &blocks[..] else { panic!("{blocks:?}") };
    let program = self::blocks().into_iter().find(|block| block.info.starts_with("rust")).unwrap().lines.join("\n");
    place.write("main.rs", program);
    place.write("Cargo.lock", std::fs::read(root().join("Cargo.lock")).unwrap());
    let lines = [&make.lines[..], &["mv ../main.rs src", "mv ../Cargo.lock ."], &run.lines].concat();
    // Uses the dependency versions of this build, and reuses its artifacts where they are the same.
    let built = Path::new(exe!("loc")).ancestors().nth(2).unwrap();
    let shell = |lines: &[&str]| {
        let mut shell = place.command("sh", &["-ec", &lines.join("\n")]);
        shell.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", built);
        shell
    };
    let ended = shell(&lines).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "3\n", "{}", String::from_utf8_lossy(&ended.stderr));

    // `exec`, so that the signal reaches the worker.
    let [worker] = &with_info("sh own worker")[..] else { panic!() };
    let arguments = worker.lines[0].strip_prefix("cargo run -- ").unwrap();
    let program = format!("exec {} {arguments}", built.join("debug/book").display());
    let mut worker = Process::start(shell(&["cd book", &program]));
    worker.err_line(|line| line.contains("worker ready"));
    let ended = shell(&[&["cd book"], &submit.lines[..]].concat()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "3\n", "{}", String::from_utf8_lossy(&ended.stderr));
    worker.signal("TERM");
    assert_eq!(worker.end().code, Some(0));
}

/// The table of features matches the manifest.
#[test]
fn the_features_match_the_manifest() {
    let manifest: toml::Table = std::fs::read_to_string(root().join("ork/Cargo.toml")).unwrap().parse().unwrap();
    let mut features = manifest["features"].as_table().unwrap().clone();
    let default = features.remove("default").unwrap();
    // Features for ork's own tests are documented with these tests.
    features.retain(|name, _| !name.starts_with('_'));
    let table = README.split("\n| feature |").nth(1).unwrap().split("\n\n").next().unwrap();
    for line in table.lines().skip(2) {
        let [_, name, by_default, ..] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let name = name.trim_matches('`');
        assert!(features.remove(name).is_some(), "{line}");
        let is_default = default.as_array().unwrap().iter().any(|it| it.as_str() == Some(name));
        assert_eq!(by_default == "yes", is_default, "{line}");
    }
    assert!(features.is_empty(), "{features:?}");
}

/// The workflow is that of the example, and its commands behave as the README describes.
#[test]
fn a_workflow_is_checked_and_run() {
    let file = include_str!("../workflows/files.yaml");
    let shown = blocks().into_iter().find(|block| block.info == "yaml").unwrap().lines;
    assert!(file.lines().filter(|line| !line.starts_with('#')).eq(shown), "{file}");
    let place = Place::new();
    place.write("examples/workflows/files.yaml", file);
    let [Block { lines, .. }] = &with_info("sh workflow")[..] else { panic!() };
    let [check, run] = lines[..] else { panic!("{lines:?}") };
    let workflows = |line: &'static str| {
        let arguments =
            line.strip_prefix("cargo run --release -p ork-examples --features workflow --bin workflows -- ");
        place.run(exe!("workflows"), arguments.unwrap_or_else(|| panic!("not run: {line}")))
    };
    assert_eq!(workflows(check).ok(), "examples/workflows/files.yaml: 3 tasks, ok\n");
    assert!(workflows(run).ok().contains("\"files_processed\": 5"));
}

#[test]
fn every_command_is_run_by_a_test_of_this_file() {
    for block in blocks() {
        let known = match block.info {
            "rust" | "rust,no_run" => true,
            "yaml" | "text" | "sh own worker" | "sh workflow" => with_info(block.info).len() == 1,
            "sh own" | "sh" => with_info(block.info).len() == 3,
            "sh amqp" | "sh shared" => with_info(block.info).len() == 2,
            _ => false,
        };
        assert!(known, "{block:?}");
    }
}

#[test]
fn the_configuration_table_matches_the_code() {
    let section = CONFIGURATION.split("## Keys").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Vec<_>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let config = ork::Config::default();
    let keys = ork::CONFIG_KEYS.iter().zip(config.entries());
    assert_eq!(rows.len(), ork::CONFIG_KEYS.len());
    for (row, (key, (_, default, _))) in rows.iter().zip(keys) {
        let (name, expected) = (key.name, key.expected);
        let variable = format!("`ORK_{}`", name.to_uppercase());
        assert_eq!(row[..3], [format!("`{name}`"), variable, expected.to_owned()]);
        if !default.is_empty() {
            assert_eq!(row[3], format!("`{default}`"), "{name}");
        }
    }
}

#[test]
fn the_exit_codes_match_the_help() {
    let help = Place::new().run(exe!("hello"), "--help").ok();
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130 "] {
        assert!(CONFIGURATION.contains(&format!("\n| {code}|")), "{code}");
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn every_link_resolves_and_no_line_is_too_long() {
    support::blocks::assert_links(README, &root());
    support::blocks::assert_width(README);
}
