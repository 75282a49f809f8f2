//! Counts lines of code by language: a source tree is split into directories, each one is counted as a part, and the
//! join adds up one table.
//!
//! `loc run loc root=.` does this in one process. To use several processes, start `loc worker` several times and run
//! `loc submit loc root=. --wait`. Both print a table with one row per language, the most code first, and the total.

#![expect(clippy::needless_pass_by_value, reason = "a task owns its inputs")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::FileType;
use std::path::{Path, PathBuf};

use ork::{Parts, Result, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The languages that are counted: the extensions of their files, and what begins a line of comment.
const LANGUAGES: [(&str, &[&str], &[&str]); 14] = [
    ("C", &["c", "h"], &["//", "/*", "*"]),
    ("C++", &["cc", "cpp", "hpp"], &["//", "/*", "*"]),
    ("CSS", &["css"], &["/*", "*"]),
    ("Go", &["go"], &["//", "/*", "*"]),
    ("HTML", &["html"], &["<!--"]),
    ("Java", &["java"], &["//", "/*", "*"]),
    ("JavaScript", &["js", "mjs"], &["//", "/*", "*"]),
    ("Python", &["py"], &["#"]),
    ("Rust", &["rs"], &["//", "/*"]),
    ("SQL", &["sql"], &["--"]),
    ("Shell", &["sh"], &["#"]),
    ("TOML", &["toml"], &["#"]),
    ("TypeScript", &["ts", "tsx"], &["//", "/*", "*"]),
    ("YAML", &["yaml", "yml"], &["#"]),
];

/// Folders of build output and dependencies, which are not counted.
const SKIPPED: [&str; 3] = ["node_modules", "target", "venv"];

/// The lines of one language.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Lines {
    files: usize,
    code: usize,
    comments: usize,
    blanks: usize,
}

impl Lines {
    fn of(text: &str, comments: &[&str]) -> Self {
        let mut lines = Self { files: 1, ..Self::default() };
        for line in text.lines().map(str::trim_start) {
            if line.is_empty() {
                lines.blanks += 1;
            } else if comments.iter().any(|mark| line.starts_with(mark)) {
                lines.comments += 1;
            } else {
                lines.code += 1;
            }
        }
        lines
    }

    fn add(&mut self, more: &Self) {
        self.files += more.files;
        self.code += more.code;
        self.comments += more.comments;
        self.blanks += more.blanks;
    }
}

type Languages = BTreeMap<String, Lines>;

/// Counts the lines of the files that lie in one directory, not below it.
#[task(retries = 2)]
fn loc(directory: PathBuf) -> Result<Languages> {
    let mut languages = Languages::new();
    for file in entries(&directory, FileType::is_file)? {
        let extension = file.extension().and_then(OsStr::to_str).unwrap_or_default();
        let known = LANGUAGES.iter().find(|(_, extensions, _)| extensions.contains(&extension));
        let Some((language, _, comments)) = known else { continue };
        let text = std::fs::read(&file)?;
        let lines = Lines::of(&String::from_utf8_lossy(&text), comments);
        languages.entry((*language).to_owned()).or_default().add(&lines);
    }
    Ok(languages)
}

/// Counts lines of code by language in a source tree.
#[task(part)]
fn loc_part(root: PathBuf) -> Result<Vec<loc>> {
    let mut directories = vec![std::path::absolute(root)?];
    let mut next = 0;
    while let Some(directory) = directories.get(next) {
        let below = entries(directory, FileType::is_dir);
        // A folder that is not there is an error; one that was removed in the meantime, or may not be read, is not.
        directories.extend(if next == 0 { below? } else { below.unwrap_or_default() });
        next += 1;
    }
    Ok(directories.into_iter().map(|directory| loc { directory }).collect())
}

/// Returns the files, or the directories, in a directory. Hidden ones and build output are left out.
fn entries(directory: &Path, is_wanted: fn(&FileType) -> bool) -> Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let is_skipped = name.to_string_lossy().starts_with('.') || SKIPPED.iter().any(|skipped| name == *skipped);
        if is_wanted(&entry.file_type()?) && !is_skipped {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

/// One row of the table.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Row {
    language: String,
    files: usize,
    lines: usize,
    code: usize,
    comments: usize,
    blanks: usize,
}

impl Row {
    fn new(language: String, lines: &Lines) -> Self {
        let &Lines { files, code, comments, blanks } = lines;
        Self { language, files, lines: code + comments + blanks, code, comments, blanks }
    }
}

/// Adds everything up, the most code first.
#[task(join)]
fn loc_join(parts: Parts<Languages>) -> Result<Vec<Row>> {
    let mut languages = Languages::new();
    let mut total = Lines::default();
    for part in parts.all_ok()? {
        for (language, lines) in part? {
            total.add(&lines);
            languages.entry(language).or_default().add(&lines);
        }
    }
    let mut table: Vec<_> = languages.into_iter().map(|(language, lines)| Row::new(language, &lines)).collect();
    table.sort_by(|a, b| b.code.cmp(&a.code).then_with(|| a.language.cmp(&b.language)));
    table.push(Row::new("total".to_owned(), &total));
    Ok(table)
}

fn main() -> std::process::ExitCode {
    ork::main()
}
