//! The commands below `schedules`: list, add, pause, resume, trigger, remove.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Output, workflow};
use ork_core::workflow_run::RUN;
use ork_runtime::app::workflows::{self, Purpose};
use ork_runtime::app::{Ork, OrkBuilder};
use ork_runtime::client::ScheduleStatus;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List schedules and the times of their next runs
    List,
    /// Add or replace the schedule of a workflow
    Add {
        /// A workflow file with a `schedule`
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A parameter of the scheduled runs; may be repeated
        #[arg(long, value_name = "NAME=VALUE")]
        input: Vec<String>,
    },
    /// Pause a schedule: it starts no runs until it is resumed
    Pause {
        /// The name of the workflow
        name: String,
    },
    /// Resume a paused schedule
    Resume {
        /// The name of the workflow
        name: String,
    },
    /// Start a run now, and print its id
    Trigger {
        /// The name of the workflow
        name: String,
    },
    /// Remove a schedule; runs that it has started continue
    Remove {
        /// The name of the workflow
        name: String,
    },
}

pub(super) async fn schedules(builder: OrkBuilder, command: Command, output: &Output) -> Result<ExitCode, Failure> {
    if matches!(command, Command::Add { .. } | Command::Trigger { .. }) {
        super::submit::check_outlives_command(&builder)?;
    }
    let ork = builder.build().await?;
    let done = command_of(&ork, command, output).await;
    ork.shutdown().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn command_of(ork: &Ork, command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List => list(&ork.schedules().list().await?, output),
        Command::Add { file, input } => {
            let parameters = workflow::parameters(&[], &input)?;
            let file = workflows::check(ork.registry(), ork.executor(), &file, Purpose::Schedule(&parameters)).await?;
            let (schedule, path) = (file.checked.schedule.clone(), file.workflow.file().path().to_owned());
            let plan = workflow::plan(&file.workflow, file.checked, output)?;
            let Some(schedule) = schedule else {
                let hint = "add one, e.g. `schedule: \"0 6 * * *\"` for 06:00 every day";
                return Err(Failure::user(format!("the workflow {path} has no schedule")).hint(hint));
            };
            let input = serde_json::to_value(&plan).unwrap_or_default();
            let before = ork.schedules().list().await?.iter().any(|schedule| schedule.name == plan.name);
            let added = ork.schedules().add(&plan.name, schedule, RUN, input).await?;
            let before = if before { ", replacing the previous schedule" } else { "" };
            let (name, cron, zone) = (&added.name, &added.schedule.cron, &added.schedule.timezone);
            output.print_result(&added, format_args!("{name} is scheduled: {cron} ({zone}){before}"));
        }
        Command::Pause { name } => {
            let changed = ork.schedules().pause(&name).await?;
            print_done(output, &name, if changed { "paused" } else { "already paused" });
        }
        Command::Resume { name } => {
            let changed = ork.schedules().resume(&name).await?;
            print_done(output, &name, if changed { "resumed" } else { "not paused" });
        }
        Command::Trigger { name } => {
            let id = ork.schedules().trigger(&name).await?;
            output.print_result(json!({ "id": id }), id);
        }
        Command::Remove { name } => {
            ork.schedules().remove(&name).await?;
            print_done(output, &name, "removed");
        }
    }
    Ok(())
}

fn print_done(output: &Output, name: &str, done: &str) {
    output.print_result(json!({ "name": name, "done": done }), format_args!("{name} {done}"));
}

fn list(all: &[ScheduleStatus], output: &Output) {
    let row = |schedule: &ScheduleStatus| {
        let next = match (schedule.paused, schedule.next) {
            (true, _) => "paused".to_owned(),
            (false, Some(next)) => next.to_string(),
            (false, None) => "waiting for a worker".to_owned(),
        };
        let last = schedule.last.map(|last| last.to_string()).unwrap_or_default();
        vec![schedule.name.clone(), schedule.schedule.cron.clone(), schedule.schedule.timezone.clone(), next, last]
    };
    output.list(all, "no schedules", &["name", "schedule", "time zone", "next run", "last run"], row);
}
