//! Workflows over tasks in Rust: `flows run flows/files.yaml --input prefix=raw/2026-01-15`.
//!
//! Beside it are workflows of other shapes, and `flows check`, `flows graph` and `flows schedules` for each of them.

#![expect(clippy::needless_pass_by_value, reason = "a task owns its inputs")]

use std::process::ExitCode;

use ork::task;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds out what there is to do. A function `main` has the name of its module.
mod discover {
    use super::{JsonSchema, Serialize, task};

    #[derive(Serialize, JsonSchema)]
    pub(crate) struct Output {
        /// What there is to do.
        pub(crate) files: Vec<String>,
        /// How much that is.
        pub(crate) count: usize,
    }

    /// Lists what is below a prefix.
    #[task]
    pub(crate) fn main(prefix: String) -> Output {
        let files: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| format!("{prefix}/{name}.parquet")).into();
        Output { count: files.len(), files }
    }
}

/// What came of one file.
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

/// What came of all files.
#[derive(Serialize, JsonSchema)]
struct Total {
    total_rows: usize,
    files_processed: usize,
}

/// Adds up what came of the files.
#[task]
fn aggregate(process: Vec<Processed>) -> Total {
    Total { total_rows: process.iter().map(|one| one.rows).sum(), files_processed: process.len() }
}

/// What one of many did.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Share {
    processed: usize,
}

/// Takes its share of a hundred items, by its place among those that do the same.
#[task]
fn share(context: ork::Context) -> Share {
    let (index, count) = (context.parallel_index(), context.parallel_count().unwrap_or(1));
    let own = (0..100_u64).filter(|item| item % count == index);
    Share { processed: own.count() }
}

/// What one of several did for a region.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Done {
    region: String,
    worker: u64,
    of: u64,
}

/// The regions there are.
#[derive(Serialize, JsonSchema)]
struct Regions {
    regions: Vec<String>,
}

/// Lists the regions.
#[task]
fn discover_regions() -> Regions {
    Regions { regions: ["eu", "us", "asia"].map(str::to_owned).into() }
}

/// Does one share of the work of one region.
#[task]
fn process_region(item: String, context: ork::Context) -> Done {
    Done { region: item, worker: context.parallel_index(), of: context.parallel_count().unwrap_or(1) }
}

/// Counts what was done for each region.
#[task]
fn aggregate_regions(process_region: Vec<Done>) -> Vec<String> {
    process_region.iter().map(|one| format!("{} {}/{}", one.region, one.worker, one.of)).collect()
}

fn main() -> ExitCode {
    ork::main()
}
