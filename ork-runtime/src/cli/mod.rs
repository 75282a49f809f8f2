//! The command line of programs that use ork: parses the arguments, sets up a runtime, runs the command, and turns
//! its result into an exit code.

mod doctor;
mod events;
mod failure;
mod finish;
mod input;
mod jobs;
mod metrics;
mod output;
mod outputs;
mod parts;
mod progress;
mod run;
#[cfg(feature = "workflow")]
mod schedules;
mod schema;
mod show;
mod signals;
mod submit;
mod tasks;
mod tree;
mod watch;
mod work;
mod worker;
#[cfg(feature = "workflow")]
mod workflow;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::failure::Failure;
use self::output::Output;
use crate::app::{Ork, OrkBuilder};

/// Runs the command line of this program, and returns its exit code.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     ork::main()
/// }
/// ```
///
/// | code | when |
/// | --- | --- |
/// | 0 | success |
/// | 1 | the job failed or was cancelled, or schemas are incompatible |
/// | 2 | the command line or an input is wrong |
/// | 3 | the configuration or the tasks are wrong |
/// | 4 | the store or the broker cannot be used, or the output cannot be written |
/// | 5 | an internal error |
/// | 130 | the command was interrupted |
///
/// A program whose tasks take a state calls [`OrkBuilder::main`] instead.
pub fn main() -> ExitCode {
    Ork::builder().main()
}

/// Runs this program's tasks, in one process or in many that share a store or a RabbitMQ.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Write JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 well, 1 the job failed or was cancelled, or schemas do not go together, 2 wrong command line or input, 3 wrong \
configuration or tasks, 4 store, broker or standard output cannot be used, 5 defect, 130 interrupted.\n\nORK_BROKER, ORK_STORE and the \
other settings are read from the environment and from ork.toml; `doctor` shows them all.";

#[derive(Debug, Subcommand)]
enum Command {
    /// List the tasks of this program
    Tasks(tasks::Args),
    /// Describe the tasks to programs in other languages
    #[command(subcommand)]
    Schema(schema::Command),
    /// Run a task or a workflow here, to its end, and print its result
    Run(run::Args),
    /// Hand a job, or a run of a workflow, over to the workers
    Submit(submit::Args),
    /// Say everything that is wrong with workflows, without running anything
    #[cfg(feature = "workflow")]
    Check(workflow::Check),
    /// Draw a workflow
    #[cfg(feature = "workflow")]
    Graph(workflow::Graph),
    /// Look at what is started by the clock, and steer it
    #[cfg(feature = "workflow")]
    #[command(subcommand)]
    Schedules(schedules::Command),
    /// Work until told to stop
    Worker(worker::Args),
    /// Look at jobs and steer them
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Say how this program is set up, whether that works, and what to do if not
    Doctor,
    /// Write a script that completes this command line in a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

impl OrkBuilder {
    /// Runs the command line of this program, as [`main`] does, with the states and settings of this builder.
    pub fn main(self) -> ExitCode {
        let args = match Args::try_parse() {
            Ok(args) => args,
            Err(error) if error.use_stderr() => error.exit(),
            // No error: the text of `--help` or `--version`.
            Err(help) => {
                let output = Output::new(false);
                output.raw(help.render().to_string().as_bytes());
                return output.finish().map_or_else(|failure| failure.report(&output), |()| ExitCode::SUCCESS);
            }
        };
        let output = Output::new(args.json);
        let ended = self.command(args.command, &output).and_then(|code| output.finish().map(|()| code));
        ended.unwrap_or_else(|failure| failure.report(&output))
    }

    fn command(self, command: Command, output: &Output) -> Result<ExitCode, Failure> {
        if let Command::Completions { shell } = command {
            let mut script = Vec::new();
            let mut command = Args::command();
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut script);
            output.raw(&script);
            return Ok(ExitCode::SUCCESS);
        }
        let config = self.resolve()?;
        output.log(&config.log)?;
        if let Command::Tasks(args) = command {
            return tasks::tasks(&self.tasks()?, &args, output);
        }
        if let Command::Schema(command) = command {
            return schema::schema((&self.tasks()?, &config), command, output);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::internal("the runtime cannot be started", error))?;
        let builder = self.config(config);
        let ended = runtime.block_on(async {
            match command {
                Command::Run(args) => run::run(builder, args, output).await,
                Command::Submit(args) => submit::submit(builder, args, output).await,
                Command::Worker(args) => worker::worker(builder, args, output).await,
                Command::Jobs(command) => jobs::jobs(builder, command, output).await,
                #[cfg(feature = "workflow")]
                Command::Check(args) => workflow::check(&builder, &args, output).await,
                #[cfg(feature = "workflow")]
                Command::Graph(args) => workflow::graph(&builder, &args, output).await,
                #[cfg(feature = "workflow")]
                Command::Schedules(command) => schedules::schedules(builder, command, output).await,
                Command::Doctor => doctor::doctor(builder, output).await,
                Command::Tasks(_) | Command::Schema(_) | Command::Completions { .. } => Ok(ExitCode::SUCCESS),
            }
        });
        // Dropping the runtime would wait for blocking tasks, and one that never returns must not keep the process
        // from ending.
        runtime.shutdown_background();
        ended
    }
}
