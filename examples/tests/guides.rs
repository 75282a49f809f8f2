//! Runs every command of the guides (`docs/tutorial.md`, `docs/production.md`) as it is printed there.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "guides/production.rs"]
mod production;
mod support;
#[path = "guides/tutorial.rs"]
mod tutorial;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use support::blocks;

const TUTORIAL: &str = include_str!("../../docs/tutorial.md");
const PRODUCTION: &str = include_str!("../../docs/production.md");
const INDEX: &str = include_str!("../../docs/README.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn links_lead_somewhere_and_lines_are_short() {
    for document in [TUTORIAL, PRODUCTION, INDEX] {
        blocks::assert_links(document, &root().join("docs"));
        blocks::assert_width(document);
    }
}

/// The index has one line for each document.
#[test]
fn the_index_names_every_document() {
    let links: BTreeSet<_> =
        INDEX.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap().to_owned()).collect();
    for folder in ["", "decisions/"] {
        for entry in std::fs::read_dir(root().join("docs").join(folder)).unwrap() {
            let name = format!("{folder}{}", entry.unwrap().file_name().to_str().unwrap());
            let is_document = Path::new(&name).extension().is_some_and(|end| end == "md") && name != "README.md";
            assert!(!is_document || links.contains(&name), "docs/README.md does not name {name}");
        }
    }
    assert!(blocks::blocks(INDEX).is_empty());
}

/// Returns a text in which everything that differs from run to run has a fixed form: ids, times, durations, and the
/// width of columns.
fn normal(text: &str) -> Vec<String> {
    let line = |line| without_pauses(&without_ids(line)).split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect()
}

/// Replaces the pause before a retry, which is random and may be of several words: `retry in 1s 20ms job=..`.
fn without_pauses(line: &str) -> String {
    match line.split_once("retry in ") {
        Some((before, after)) if after.contains(" job=") => {
            let rest = after.split_once(" job=").map_or("", |(_, rest)| rest);
            format!("{before}retry in PAUSE job={rest}")
        }
        _ => line.to_owned(),
    }
}

fn without_ids(line: &str) -> String {
    let (mut shown, mut rest) = (String::new(), line);
    while let Some(first) = rest.chars().next() {
        let id = rest.get(..36).filter(|id| uuid::Uuid::try_parse(id).is_ok());
        let taken = id.map_or(first.len_utf8(), str::len);
        shown.push_str(if id.is_some() { "ID" } else { &rest[..taken] });
        rest = &rest[taken..];
    }
    shown
}

fn word(word: &str) -> &str {
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok();
    let is_time = word.len() > 20 && word.ends_with('Z') && word.find('-') == Some(4);
    let is_duration = word.strip_suffix("ms").or_else(|| word.strip_suffix('s')).is_some_and(is_number);
    match word {
        _ if is_time => "TIME",
        _ if is_duration => "DURATION",
        _ => word,
    }
}

/// Returns the first id of a job in a text.
fn first_id(text: &str) -> Option<&str> {
    let starts = text.char_indices().map(|(at, _)| at);
    starts.filter_map(|at| text.get(at..at + 36)).find(|id| uuid::Uuid::try_parse(id).is_ok())
}

/// Returns the URL of RabbitMQ and that of a new database; `None` if one of them is neither available nor required.
fn services() -> Option<(&'static str, String)> {
    let url = ork_test_support::node::shared_node()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Some((url, runtime.block_on(ork_test_support::postgres::database())?))
}

/// Returns a prefix for the queues of one test on the shared broker.
fn prefix() -> String {
    format!("guides-{}", &uuid::Uuid::now_v7().simple().to_string()[20..])
}
