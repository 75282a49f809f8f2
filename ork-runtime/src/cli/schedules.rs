//! The commands below `schedules`: list, add, pause, resume, trigger, remove.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Output, workflow};
use crate::app::workflows::{self, For};
use crate::app::{Ork, OrkBuilder};
use crate::client::ScheduleStatus;
use crate::workflow_run::RUN;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what is started by the clock, and when next
    List,
    /// Let the clock start the runs of a workflow that has a `schedule`
    Add {
        /// The workflow file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Values for the parameters of its runs
        #[arg(long, value_name = "NAME=VALUE")]
        input: Vec<String>,
    },
    /// Start nothing until it is resumed
    Pause {
        /// Its name: that of the workflow
        name: String,
    },
    /// Go on at the next time
    Resume {
        /// Its name: that of the workflow
        name: String,
    },
    /// Start a run now, and print its id
    Trigger {
        /// Its name: that of the workflow
        name: String,
    },
    /// Forget it; what it has started goes on
    Remove {
        /// Its name: that of the workflow
        name: String,
    },
}

pub(super) async fn schedules(builder: OrkBuilder, command: Command, output: &Output) -> Result<ExitCode, Failure> {
    if matches!(command, Command::Add { .. } | Command::Trigger { .. }) {
        super::submit::outlives(&builder)?;
    }
    let ork = builder.build().await?;
    let done = command_of(&ork, command, output).await;
    ork.shutdown().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn command_of(ork: &Ork, command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List => list(&ork.schedules().await?, output),
        Command::Add { file, input } => {
            let parameters = workflow::parameters(&[], &input)?;
            let file = workflows::check((ork.registry(), ork.executor()), &file, For::Schedule(&parameters)).await?;
            let (schedule, path) = (file.checked.schedule.clone(), file.workflow.file().path().to_owned());
            let plan = workflow::plan(&file.workflow, file.checked, output)?;
            let Some(schedule) = schedule else {
                let hint = "write one: `schedule: \"0 6 * * *\"` is six o'clock every day";
                return Err(Failure::user(format!("the workflow {path} has no schedule")).hint(hint));
            };
            let input = serde_json::to_value(&plan).unwrap_or_default();
            let before = ork.schedules().await?.iter().any(|schedule| schedule.name == plan.name);
            let added = ork.schedule(&plan.name, schedule, RUN, input).await?;
            let before = if before { ", in place of the one before" } else { "" };
            let (name, cron, zone) = (&added.name, &added.schedule.cron, &added.schedule.timezone);
            output.say(&added, format_args!("{name} is scheduled: {cron} ({zone}){before}"));
        }
        Command::Pause { name } => {
            let changed = ork.pause_schedule(&name).await?;
            said(output, &name, if changed { "paused" } else { "paused already" });
        }
        Command::Resume { name } => {
            let changed = ork.resume_schedule(&name).await?;
            said(output, &name, if changed { "resumed" } else { "not paused" });
        }
        Command::Trigger { name } => {
            let id = ork.trigger_schedule(&name).await?;
            output.say(json!({ "id": id }), id);
        }
        Command::Remove { name } => {
            ork.remove_schedule(&name).await?;
            said(output, &name, "removed");
        }
    }
    Ok(())
}

fn said(output: &Output, name: &str, done: &str) {
    output.say(json!({ "name": name, "done": done }), format_args!("{name} {done}"));
}

fn list(all: &[ScheduleStatus], output: &Output) {
    let row = |schedule: &ScheduleStatus| {
        let next = match (schedule.paused, schedule.next) {
            (true, _) => "paused".to_owned(),
            (false, Some(next)) => next.to_string(),
            (false, None) => "as soon as a worker takes it".to_owned(),
        };
        let last = schedule.last.map(|last| last.to_string()).unwrap_or_default();
        vec![schedule.name.clone(), schedule.schedule.cron.clone(), schedule.schedule.timezone.clone(), next, last]
    };
    output.list(all, "no schedules", &["name", "schedule", "time zone", "next", "last run"], row);
}
