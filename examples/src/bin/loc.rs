//! Counts lines of code by language: a source tree is split into directories, each one is counted as a part, and the
//! join adds up one table.
//!
//! `loc run loc root=.` does this in one process. To use several processes, start `loc worker` several times and run
//! `loc submit loc root=. --wait`. Both print a table with one row per language, the most code first, and the total.

#![expect(clippy::needless_pass_by_value, reason = "a task owns its inputs")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ork::{Parts, Result, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokei::{CodeStats, Config, LanguageType};

/// The lines of one language.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Lines {
    files: usize,
    code: usize,
    comments: usize,
    blanks: usize,
}

impl Lines {
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
    let mut files = files_of(&directory)?;
    files.sort();
    for file in files {
        let Some(language) = LanguageType::from_path(&file, &Config::default()) else { continue };
        let CodeStats { blanks, code, comments, .. } =
            language.parse_from_slice(std::fs::read(&file)?, &Config::default()).summarise();
        let lines = Lines { files: 1, code, comments, blanks };
        languages.entry(language.name().to_owned()).or_default().add(&lines);
    }
    Ok(languages)
}

fn files_of(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Counts lines of code by language in a source tree.
#[task(part)]
fn loc_part(root: PathBuf) -> Result<impl Iterator<Item = loc>> {
    let root = std::path::absolute(root)?;
    // Files that version control ignores, such as build output, are not part of the source code.
    let walk = ignore::WalkBuilder::new(&root).follow_links(false).build();
    std::fs::read_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    let directories =
        walk.filter_map(std::result::Result::ok).filter(|entry| entry.file_type().is_some_and(|kind| kind.is_dir()));
    Ok(directories.map(|entry| loc { directory: entry.into_path() }))
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
