//! The command `jobs parts`: lists the parts of a job and their states, one page at a time.

use clap::Args;

use super::format::brief;
use super::{Failure, Output};
use ork_core::id::JobId;
use ork_core::ledger::PartState;
use ork_ports::store::{PartFilter, PartStatus};
use ork_runtime::app::Ork;

#[derive(Debug, Args)]
pub(super) struct Page {
    /// The id of the job
    id: JobId,
    /// Start at this index
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Maximum number of parts to list
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Only parts in this state; may be repeated: ready, running, retrying, succeeded, failed, skipped, cancelled
    #[arg(long)]
    state: Vec<String>,
}

/// Lists a page of parts, and prints the command for the next page.
pub(super) async fn parts(ork: &Ork, page: Page, output: &Output) -> Result<(), Failure> {
    let Page { id, from, limit, state } = page;
    let states = state.iter().map(|word| known_state(word)).collect::<Result<_, _>>()?;
    // One more than the limit is read, to know whether there is a next page.
    let filter = PartFilter { states, from, limit: limit.saturating_add(1) };
    let mut parts = ork.parts(id, filter).await?;
    let next = parts.get(limit).map(|part| part.index);
    parts.truncate(limit);
    output.list(&parts, "no parts", &["index", "state", "attempts", "progress", "error"], row);
    if let Some(next) = next {
        let states = state.iter().flat_map(|word| [" --state ", word]).collect::<String>();
        output.note(format!("next page: jobs parts {id} --from {next} --limit {limit}{states}"));
    }
    Ok(())
}

fn row(part: &PartStatus) -> Vec<String> {
    let progress = part.progress.as_ref().map(|progress| format!("{:.0} % {}", progress.percent, progress.info));
    vec![
        part.index.to_string(),
        part.state.to_string(),
        part.attempts.to_string(),
        progress.unwrap_or_default().trim_end().to_owned(),
        brief(part.failure.as_ref()),
    ]
}

fn known_state(word: &str) -> Result<PartState, Failure> {
    PartState::from_word(word).ok_or_else(|| {
        let known: Vec<_> = PartState::ALL.iter().map(|state| state.as_str()).collect();
        Failure::user(format!("unknown part state `{word}`: expected one of {}", known.join(", ")))
    })
}
