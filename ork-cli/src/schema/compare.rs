//! The commands `schema diff` and `schema check`: report which messages, clients and workflows a change of the tasks
//! breaks.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::super::{Failure, Output};
use ork_runtime::registry::Registry;
use ork_runtime::schema::{self, Became, Change, Effect};

#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The old schemas, written by `schema export`; `-` for stdin, e.g. from `git show main:ork.schema.json`
    old: PathBuf,
    /// The new schemas (default: those of this program)
    new: Option<PathBuf>,
    /// Also fail if it is unknown whether something breaks
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The file that `schema export` wrote
    #[arg(default_value = "ork.schema.json")]
    file: PathBuf,
}

/// Prints what changed between two bundles. Fails if a change breaks something.
pub(super) fn diff(registry: &Registry, args: &Diff, output: &Output) -> Result<ExitCode, Failure> {
    let old = read(&args.old)?;
    let new = match &args.new {
        Some(path) => read(path)?,
        None => schema::bundle(registry.tasks()),
    };
    let changes = schema::compare(&old, &new).map_err(|error| wrong(args, &old, &error))?;
    print_changes(&changes, output);
    let fails = |effect: &Effect| effect.is_breaking() || (args.strict && effect.is_unsure());
    let breaks = changes.iter().any(|change| change.effects().iter().any(|(_, effect)| fails(effect)));
    Ok(ExitCode::from(u8::from(breaks)))
}

/// Returns an error that names the file which is no bundle.
fn wrong(args: &Diff, old: &Value, error: &schema::NotABundle) -> Failure {
    let old_is_fine = schema::compare(old, old).is_ok();
    let path = args.new.as_ref().filter(|_| old_is_fine).unwrap_or(&args.old);
    Failure::user(format!("{} cannot be compared: {error}", path.display()))
        .hint("compare files that `schema export` wrote in the format `json`")
}

/// Compares the tasks of the program with the bundle in a file. Fails if they differ.
pub(super) fn check(registry: &Registry, args: &Check, output: &Output) -> Result<ExitCode, Failure> {
    let path = args.file.display();
    let exported =
        read(&args.file).map_err(|error| error.hint(format!("`schema export --output {path}` writes it")))?;
    let now = schema::bundle(registry.tasks());
    if exported == now {
        output.note(format!("{path} is up to date"));
        return Ok(ExitCode::SUCCESS);
    }
    let changes = schema::compare(&exported, &now)
        .map_err(|error| Failure::user(format!("{path} cannot be compared: {error}")))?;
    print_changes(&changes, output);
    let breaks = changes.iter().any(|change| change.effects().iter().any(|(_, effect)| effect.is_breaking()));
    output.note(format!(
        "{path} is out of date{}: run `schema export --output {path}` and commit the file for review",
        if breaks { ", and the change is breaking" } else { "" }
    ));
    Ok(ExitCode::from(1))
}

fn read(path: &Path) -> Result<Value, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|all| text = all)
    };
    read.map_err(|error| Failure::user(format!("{} cannot be read: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| Failure::user(format!("{} is not JSON: {error}", path.display())))
}

fn print_changes(changes: &[Change], output: &Output) {
    if output.is_json() {
        output.json(&json!({ "changes": changes }));
        return;
    }
    for change in changes {
        print_change(change, output);
    }
    if changes.is_empty() {
        output.line("no schema changes");
    }
}

fn print_change(change: &Change, output: &Output) {
    let word = match change.became {
        Became::Added => "added",
        Became::Changed => "changed",
        Became::Removed => "removed",
    };
    output.line(format!("task `{}` {word}", change.task));
    let width = change.fields.iter().map(|field| field.path.len()).max().unwrap_or_default();
    for field in &change.fields {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "(none)".to_owned());
        output.line(format!("  {:width$}  {} → {}", field.path, side(&field.before), side(&field.after)));
    }
    for (affected, effect) in change.effects() {
        match effect {
            Effect::Compatible => output.line(format!("  {affected}: compatible")),
            Effect::Unsure(reasons) => lines(&format!("  {affected}: unknown"), reasons, output),
            Effect::Breaks(reasons) => lines(&format!("  {affected}: broken"), reasons, output),
        }
    }
}

fn lines(head: &str, reasons: &[String], output: &Output) {
    output.line(head);
    for why in reasons {
        output.line(format!("    {why}"));
    }
}
