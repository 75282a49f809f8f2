//! The command line of programs that use ork: parses the arguments, sets up a runtime, runs the command, and turns
//! its result into an exit code.

mod doctor;
mod events;
mod failure;
mod finish;
mod format;
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

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::failure::Failure;
use self::output::Output;
use ork_runtime::app::OrkBuilder;

/// Runs the tasks of this program, in one process or in many that share a store or a RabbitMQ broker.
#[derive(Debug, Parser)]
#[command(version = concat!("(ork ", env!("CARGO_PKG_VERSION"), ")"), after_help = EXIT_CODES, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 success, 1 job failed or cancelled, or incompatible schemas, \
2 invalid command line or input, 3 invalid configuration or tasks, 4 store, broker or standard output unavailable, \
5 internal error, 130 interrupted.\n\n\
Settings such as ORK_BROKER and ORK_STORE are read from the environment and from ork.toml; `doctor` lists them all.";

#[derive(Debug, Subcommand)]
enum Command {
    /// List the tasks of this program
    Tasks(tasks::Args),
    /// Export and compare the schemas of the tasks
    #[command(subcommand)]
    Schema(schema::Command),
    /// Run a task or a workflow in this process and print its result
    Run(run::Args),
    /// Submit a job or a workflow run
    Submit(submit::Args),
    /// Validate workflow files
    #[cfg(feature = "workflow")]
    Check(workflow::Check),
    /// Draw the graph of a workflow
    #[cfg(feature = "workflow")]
    Graph(workflow::Graph),
    /// List and manage schedules
    #[cfg(feature = "workflow")]
    #[command(subcommand)]
    Schedules(schedules::Command),
    /// Run a worker until a signal stops it
    Worker(worker::Args),
    /// List, inspect and manage jobs
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Check configuration and connectivity
    Doctor,
    /// Generate a shell completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command line of this program, with the states and settings of this builder, and returns its exit code.
pub fn main(builder: OrkBuilder) -> ExitCode {
    let args = match parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => error.exit(),
        // No error: the text of `--help` or `--version`.
        Err(help) => {
            let output = Output::new(false);
            output.raw(help.render().to_string().as_bytes());
            return output.finish().map_or_else(|failure| output.report(&failure), |()| ExitCode::SUCCESS);
        }
    };
    let output = Output::new(args.json);
    let ended = perform(builder, args.command, &output).and_then(|code| output.finish().map(|()| code));
    ended.unwrap_or_else(|failure| output.report(&failure))
}

/// Returns the name of the program, as it was called.
fn program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    Path::new(&path).file_stem().map_or_else(|| "ork".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn parse() -> Result<Args, clap::Error> {
    let matches = Args::command().display_name(program()).try_get_matches()?;
    Args::from_arg_matches(&matches)
}

fn perform(builder: OrkBuilder, command: Command, output: &Output) -> Result<ExitCode, Failure> {
    if let Command::Completions { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), program(), &mut script);
        output.raw(&script);
        return Ok(ExitCode::SUCCESS);
    }
    let config = builder.resolve()?;
    output.log(&config.log)?;
    if let Command::Tasks(args) = command {
        return tasks::tasks(&builder.tasks()?, &args, output);
    }
    if let Command::Schema(command) = command {
        return schema::schema(&builder.tasks()?, &config, command, output);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal("cannot start the async runtime", error))?;
    let builder = builder.config(config);
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
