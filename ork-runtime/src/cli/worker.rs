//! The command `worker`: runs a worker until a signal stops it.

use std::process::ExitCode;

use super::signals::Signals;
use super::{Failure, Output};
use crate::app::OrkBuilder;
use crate::worker::Stopped;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What this worker is called
    #[arg(long)]
    name: Option<String>,
    /// How many tasks run at once
    #[arg(long)]
    concurrency: Option<String>,
}

pub(super) async fn worker(mut builder: OrkBuilder, args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    if let Some(name) = args.name {
        builder = builder.set("name", name);
    }
    if let Some(concurrency) = args.concurrency {
        builder = builder.set("concurrency", concurrency);
    }
    let ork = builder.build().await?;
    if ork.registry().is_empty() {
        ork.shutdown().await;
        return Err(Failure::user("this program has no tasks, so there is nothing to work on")
            .hint("annotate a function with #[task], and name its crate in this program"));
    }
    output.note(format!(
        "worker ready for {} (store {}, broker {}); Ctrl-C ends it",
        ork.registry().names().join(", "),
        crate::config::redact(&ork.config().store),
        crate::config::redact(&ork.config().broker)
    ));
    let mut work = Box::pin(ork.work());
    let mut asked = false;
    let stopped = loop {
        tokio::select! {
            stopped = &mut work => break stopped,
            () = signals.next() => {
                if asked {
                    output.note("ending at once; what was begun is given back");
                    ork.force_stop();
                } else {
                    output.note(format!(
                        "ending within {}; a second signal ends at once",
                        humantime::format_duration(ork.config().shutdown)
                    ));
                    ork.drain();
                }
                asked = true;
            }
        }
    };
    drop(work);
    ork.shutdown().await;
    match stopped? {
        Stopped::Drained | Stopped::Interrupted => Ok(ExitCode::SUCCESS),
        Stopped::Failed => {
            Err(Failure::internal("the worker stopped", "something it needs has failed; the log says what"))
        }
    }
}
