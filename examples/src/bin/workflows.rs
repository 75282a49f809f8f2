//! Workflows over Rust tasks: `workflows run workflows/files.yaml --input prefix=raw/2026-01-15`.
//!
//! `workflows run workflows/tree.yaml --input folder=$PWD` counts the contents of the files in a tree, as
//! `workflows/python/tree` does in Python. The folder has workflows of other shapes too; try `workflows check`,
//! `workflows graph` and `workflows schedules` with them.

#![expect(clippy::needless_pass_by_value, reason = "a task owns its inputs")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use ork::{Result, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds the work to do. A task function named `main` takes the name of its module.
mod discover {
    use super::{JsonSchema, Serialize, task};

    #[derive(Serialize, JsonSchema)]
    pub(crate) struct Output {
        /// The files to process.
        pub(crate) files: Vec<String>,
        /// The number of files.
        pub(crate) count: usize,
    }

    /// Lists the files below a prefix.
    #[task]
    pub(crate) fn main(prefix: String) -> Output {
        let files: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| format!("{prefix}/{name}.parquet")).into();
        Output { count: files.len(), files }
    }
}

/// The result for one file.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Processed {
    input_file: String,
    output_file: String,
    rows: usize,
}

/// Processes one file.
#[task(retries = 1)]
fn process(item: String, context: ork::Context) -> Processed {
    let output_file = item.replace("raw/", "processed/");
    let rows = item.len() * 10;
    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "far below 2^52")]
    context.metrics().record("rows_processed", rows as f64, &[]);
    Processed { input_file: item, output_file, rows }
}

/// The result for all files.
#[derive(Serialize, JsonSchema)]
struct Total {
    total_rows: usize,
    files_processed: usize,
}

/// Adds up the results of the files.
#[task]
fn aggregate(process: Vec<Processed>) -> Total {
    Total { total_rows: process.iter().map(|one| one.rows).sum(), files_processed: process.len() }
}

/// The result of one of several instances.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Share {
    processed: usize,
}

/// Processes its share of a hundred items, by its index among the parallel instances.
#[task]
fn share(context: ork::Context) -> Share {
    let (index, count) = (context.parallel_index(), context.parallel_count().unwrap_or(1));
    let own = (0..100_u64).filter(|item| item % count == index);
    Share { processed: own.count() }
}

/// The result of one of several instances for a region.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Done {
    region: String,
    worker: u64,
    of: u64,
}

/// All regions.
#[derive(Serialize, JsonSchema)]
struct Regions {
    regions: Vec<String>,
}

/// Lists the regions.
#[task]
fn discover_regions() -> Regions {
    Regions { regions: ["eu", "us", "asia"].map(str::to_owned).into() }
}

/// Processes one share of the work of one region.
#[task]
fn process_region(item: String, context: ork::Context) -> Done {
    Done { region: item, worker: context.parallel_index(), of: context.parallel_count().unwrap_or(1) }
}

/// Lists the shares that were processed in each region.
#[task]
fn aggregate_regions(process_region: Vec<Done>) -> Vec<String> {
    process_region.iter().map(|one| format!("{} {}/{}", one.region, one.worker, one.of)).collect()
}

/// The files of a tree.
#[derive(Serialize, JsonSchema)]
struct Files {
    /// Their paths from its folder, in order.
    files: Vec<String>,
}

/// Finds all files below a folder, except hidden ones.
#[task]
fn find_files(folder: String) -> Result<Files> {
    let (mut files, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(inner) = folders.pop() {
        for entry in Path::new(&folder).join(&inner).read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().filter(|name| !name.starts_with('.'));
            let Some(path) = name.map(|name| format!("{inner}{name}")) else { continue };
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(path + "/"),
                kind if kind.is_file() => files.push(path),
                // Symbolic links are not followed, because they may lead out of the tree.
                _ => {}
            }
        }
    }
    files.sort();
    Ok(Files { files })
}

/// The counts of one file, or of several.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Counts {
    files: u64,
    bytes: usize,
    lines: usize,
    words: usize,
}

/// The counts of one file.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Counted {
    /// The extension of its name.
    kind: String,
    counts: Counts,
}

/// Counts the bytes, the lines and the words of one file.
#[task]
fn count_file(folder: String, item: String) -> Result<Counted> {
    let path = Path::new(&folder).join(&item);
    let content = std::fs::read(&path)?;
    let words = content.split(|byte| b" \t\r\n".contains(byte)).filter(|word| !word.is_empty()).count();
    let lines = content.split(|byte| *byte == b'\n').count().saturating_sub(1);
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or("none").to_owned();
    Ok(Counted { kind, counts: Counts { files: 1, bytes: content.len(), lines, words } })
}

/// Adds up the counts, by kind of file.
#[task]
fn count_all(count_file: Vec<Counted>) -> BTreeMap<String, Counts> {
    let mut kinds = BTreeMap::<String, Counts>::new();
    for Counted { kind, counts } in count_file {
        let all = kinds.entry(kind).or_default();
        all.files += counts.files;
        all.bytes += counts.bytes;
        all.lines += counts.lines;
        all.words += counts.words;
    }
    kinds
}

fn main() -> ExitCode {
    ork::main()
}
