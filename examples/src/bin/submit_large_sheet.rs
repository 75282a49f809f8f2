//! A large sheet that is submitted in batches: the job counts the records and splits itself into one part for each
//! batch, and each part submits its own records.
//!
//! Without arguments, this program demonstrates that, including an invalid record that is corrected later. With
//! arguments it is an ordinary ork program: run `submit_large_sheet worker`, then
//! `submit_large_sheet submit submit_large_sheet sheet=records.csv to=submitted`.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures_util::StreamExt as _;
use ork::{Conclusion, Context, Error, EventKind, Next, Parts, Result, task};
use ork_examples::print_line;
use serde::Deserialize;

/// The default number of records in a batch.
const BATCH: usize = 1_000;

/// The result for a sheet or for one batch: the number of submitted records, and a message.
type Submitted = Conclusion<usize>;

/// The data of a part: the index of its batch.
#[derive(Deserialize)]
struct Batch {
    part: usize,
}

/// Submits the records of a sheet, one per line, as files of a folder: a batch is written as a whole, or not at all.
#[task(retries = 1)]
async fn submit_large_sheet(sheet: PathBuf, to: PathBuf, batch: Option<usize>, context: Context) -> Result<Submitted> {
    let size = batch.unwrap_or(BATCH).max(1);
    if context.is_part() {
        let Batch { part } = context.part_data()?;
        context.log(format!("submitting part {part}"));
        let records = tokio::task::spawn_blocking(move || submit_batch(&sheet, &to, part, size)).await??;
        return Ok(Submitted::new(format!("part {part} is submitted"), records));
    }
    let records = tokio::task::spawn_blocking(move || lines(&sheet).map(Iterator::count)).await??;
    if records == 0 {
        return Ok(Submitted::new("There is nothing to do.", records));
    }
    context.report_progress(10.0, "Splitting the job");
    let parts = records.div_ceil(size);
    context.split(u64::try_from(parts)?).await?;
    context.report_progress(20.0, format!("The job is split into {parts} parts"));
    Ok(Submitted::new("The job is split.", records))
}

/// Completes the job when every part has ended, or fails it if one has failed.
#[task(join)]
async fn submit_large_sheet_join(parts: Parts<Submitted>) -> Result<Submitted> {
    let (total, not_ok) = (parts.len(), parts.counts().unsuccessful());
    if not_ok > 0 {
        return Err(Error::permanent(format!("{not_ok} of {total} parts were not submitted")));
    }
    let batches = parts.all_ok()?.collect().await?;
    let records = batches.iter().map(|batch| batch.data).sum();
    let next =
        Next::Url { url: "https://example.org/submissions".into(), label: Some("See what was submitted".into()) };
    Ok(Submitted::new("This job is now complete.", records).next(next))
}

fn lines(sheet: &Path) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    Ok(BufReader::new(fs::File::open(sheet)?).lines())
}

/// Submits all records of one batch. This is idempotent: the file of the batch is replaced as a whole.
fn submit_batch(sheet: &Path, to: &Path, part: usize, size: usize) -> Result<usize> {
    let records: Vec<String> = lines(sheet)?.skip(part * size).take(size).collect::<io::Result<_>>()?;
    if let Some(at) = records.iter().position(|record| !record.contains('@')) {
        let line = part * size + at + 1;
        return Err(Error::permanent(format!("line {line} has no address")));
    }
    fs::create_dir_all(to)?;
    let unfinished = to.join(format!(".{part:05}.csv"));
    fs::write(&unfinished, records.join("\n") + "\n")?;
    fs::rename(unfinished, to.join(format!("{part:05}.csv")))?;
    Ok(records.len())
}

async fn show(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let ork = ork::builder().store("memory:").build().await?;
    ork.spawn_worker();
    let (sheet, to) = (folder.join("records.csv"), folder.join("submitted"));
    let record = |n: usize| if n == 7_777 { "nobody".to_owned() } else { format!("{n},{n}@example.org") };
    fs::write(&sheet, (0..10_500).map(record).collect::<Vec<_>>().join("\n"))?;

    let mut events = ork.events().await?;
    let job = ork.submit(submit_large_sheet { sheet: sheet.clone(), to, batch: None }).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if let Some(info) = event.info {
            print_line(&info);
        }
        if let Some(parts) = event.parts {
            print_line(&format!(
                "{}: {} of {} completed, {} failed",
                event.kind, parts.completed, parts.total, parts.failed
            ));
        }
        if matches!(event.kind, EventKind::Succeeded | EventKind::Failed) {
            break;
        }
    }
    match job.result().await {
        Err(error) => print_line(&error.to_string()),
        Ok(submitted) => print_line(&format!("unexpected: {submitted:?}")),
    }
    for part in ork.part_outputs(job.id(), 0, 100).await?.into_iter().filter(|part| part.failure.is_some()) {
        print_line(&format!("part {}: {}", part.index, part.failure.map(|why| why.to_string()).unwrap_or_default()));
    }

    // With the record corrected, a retry runs only the part that failed.
    fs::write(&sheet, fs::read_to_string(&sheet)?.replace("nobody", "7777,7777@example.org"))?;
    ork.retry(job.id()).await?;
    let submitted = job.result().await?;
    print_line(&format!("{} records. {}", submitted.data, submitted.outcome));
    ork.shutdown().await;
    Ok(())
}

fn main() -> ExitCode {
    ork_examples::main(async {
        let folder = std::env::temp_dir().join(format!("submit_large_sheet-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let shown = show(&folder).await;
        fs::remove_dir_all(&folder)?;
        shown
    })
}
