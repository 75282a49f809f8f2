//! The command `worker`: runs a worker until a signal stops it.

use std::process::ExitCode;

use super::signals::Signals;
use super::{Failure, Output};
use ork_runtime::app::OrkBuilder;
use ork_runtime::worker::Stopped;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of this worker, shown in jobs and logs (default: host name and process id)
    #[arg(long)]
    name: Option<String>,
    /// Maximum number of tasks that run at once (default: 64 per core, or 1 per core for non-async tasks)
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
        return Err(Failure::user("this program has no tasks to run")
            .hint("annotate a function with #[task], and reference its crate, e.g. `use my_tasks as _;`"));
    }
    output.note(format!(
        "worker ready for {} (store {}, broker {}); press Ctrl-C to stop",
        ork.registry().names().join(", "),
        ork_runtime::config::redact(&ork.config().store),
        ork_runtime::config::redact(&ork.config().broker)
    ));
    let mut work = Box::pin(ork.run_worker());
    let mut signaled = false;
    let stopped = loop {
        tokio::select! {
            stopped = &mut work => break stopped,
            () = signals.next() => {
                if signaled {
                    output.note("stopping now; unfinished work returns to the queue");
                    ork.worker().kill();
                } else {
                    output.note(format!(
                        "draining for up to {}; a second signal stops the worker now",
                        humantime::format_duration(ork.config().shutdown)
                    ));
                    ork.worker().stop();
                }
                signaled = true;
            }
        }
    };
    drop(work);
    ork.shutdown().await;
    match stopped? {
        Stopped::Drained | Stopped::Interrupted => Ok(ExitCode::SUCCESS),
        // `Stopped::Failed`.
        _ => Err(Failure::internal("the worker stopped", "a service failed; see the log")),
    }
}
