//! Runs any program as a task: the program reads its input as JSON from standard input, and prints its output as JSON.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use super::escalation::{Escalation, FirstSteps, StopStep};
use super::group::{Group, Pipes};
use super::lines::StderrReader;
use super::output_json;
use super::workflow_path::{WorkflowFile, blocking, root};
use super::{END_DEADLINE, Shared};
use ork_core::clock::{Clock, Pause};
use ork_ports::executor::{Call, CallObserver, Crash, Ended, ExecutorError, Instance};

/// The number of bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// The number of bytes that an error message shows of an output that is not JSON.
const SHOWN: usize = 200;

/// A program can be stopped by signals only, so both escalations begin with SIGTERM.
const FIRST_STEPS: FirstSteps = FirstSteps { on_cancel: StopStep::Terminate, without_grace: StopStep::Terminate };

/// Runs a program to its end.
pub(super) async fn run(
    shared: &Shared,
    call: &Call,
    command: &[String],
    listener: Arc<dyn CallObserver>,
    abandoned: CancellationToken,
) -> Result<Bytes, ExecutorError> {
    let Some((program, args)) = command.split_first() else {
        return Err(ExecutorError::Unfit("no program is given: `command` must be a list that starts with one".into()));
    };
    let (folder, found) = {
        let (folder, program) = (call.code.folder.clone(), program.clone());
        blocking(move || find(&folder, &program)).await?
    };
    let mut command = shared.command(&found, &folder, &call.code);
    command.args(args);
    describe_instance(&mut command, &call.instance);
    let (mut group, pipes) =
        Group::start(command, &shared.guard).map_err(|error| not_started(program, &found, &error))?;
    let Pipes { stdin, stdout, stderr } = pipes;
    let reader = StderrReader::new();
    reader.listen(Some(listener));
    let reading = reader.read_by(&shared.tasks, stderr);
    let mut escalation = shared.escalation(FIRST_STEPS, Some(call), abandoned);
    let most = shared.settings.most_output;
    let mut exchange =
        Exchange { input: call.input.clone(), most, clock: &*shared.clock, ended: None, output: BytesMut::new() };
    exchange.run(&mut group, (stdin, stdout), &mut escalation).await;
    let Exchange { ended, output, .. } = exchange;
    tokio::select! {
        () = reader.closed() => {}
        () = shared.clock.pause(END_DEADLINE) => {}
    }
    drop(reading);
    let last = reader.last();
    reader.listen(None);
    if let Some(why) = escalation.why() {
        return Err(why);
    }
    match ended {
        _ if output.len() > most => {
            Err(ExecutorError::Output(format!("`{program}` wrote more than {most} bytes to its standard output")))
        }
        Some(Ended::Code(0)) => output_of(program, output.freeze()),
        Some(ended) => Err(ExecutorError::Crashed(Crash { what: format!("`{program}`"), ended, stderr: last })),
        None => Err(ExecutorError::Interrupted),
    }
}

/// Returns the folder to run in, and the program to run there.
fn find(folder: &Path, program: &str) -> Result<(PathBuf, PathBuf), ExecutorError> {
    if program.contains('/') {
        let workflow_file = WorkflowFile::find(folder, program)?;
        return Ok((workflow_file.folder.clone(), workflow_file.path()));
    }
    Ok((root(folder)?, program.into()))
}

fn describe_instance(command: &mut Command, instance: &Instance) {
    command.env("ORK_JOB_ID", instance.job.to_string());
    command.env("ORK_ROOT_ID", instance.root.to_string());
    command.env("ORK_ATTEMPT", instance.attempt.to_string());
    command.env("ORK_PARALLEL_INDEX", instance.index.to_string());
    command.env("ORK_PARALLEL_COUNT", instance.count.to_string());
    command.env("ORK_IDEMPOTENCY_KEY", &instance.key);
    command.env("ORK_TASK", &instance.task);
    command.env("ORK_WORKFLOW", instance.workflow.as_deref().unwrap_or_default());
}

/// The exchange with a running program: its input, its output, and its end.
struct Exchange<'a> {
    input: Bytes,
    most: usize,
    clock: &'a dyn Clock,
    ended: Option<Ended>,
    /// The bytes that the program has written to its standard output. Longer than `most` if it wrote too much.
    output: BytesMut,
}

impl Exchange<'_> {
    /// Writes the input and reads the output until the program has ended.
    async fn run(&mut self, group: &mut Group, pipes: (ChildStdin, ChildStdout), escalation: &mut Escalation) {
        let ((mut stdin, mut stdout), input) = (pipes, std::mem::take(&mut self.input));
        let write = async move {
            // A program need not read its input, so a failed write is ignored: the exit code distinguishes success
            // from failure.
            drop(stdin.write_all(&input).await);
        };
        tokio::pin!(write);
        let (mut written, mut open) = (false, true);
        // A process that has left the group can hold the pipe open, so the wait for its end is limited.
        let mut last: Pause = Box::pin(std::future::pending());
        while open || self.ended.is_none() {
            self.output.reserve(CHUNK);
            tokio::select! {
                () = &mut write, if !written => written = true,
                read = stdout.read_buf(&mut self.output), if open => {
                    open = matches!(read, Ok(1..)) && self.output.len() <= self.most;
                    if self.output.len() > self.most {
                        group.kill();
                    }
                }
                end = group.ended(), if self.ended.is_none() => {
                    self.ended = Some(end);
                    last = self.clock.pause(END_DEADLINE);
                    // Processes that it left behind end with it.
                    group.sweep();
                }
                step = escalation.next() => match step {
                    StopStep::Notify | StopStep::Interrupt | StopStep::Terminate => group.terminate(),
                    StopStep::Kill => group.kill(),
                    StopStep::GiveUp => return,
                },
                () = &mut last => return,
            }
        }
    }
}

fn output_of(program: &str, output: Bytes) -> Result<Bytes, ExecutorError> {
    if output.trim_ascii().is_empty() {
        return Ok(Bytes::from_static(b"null"));
    }
    match output_json::check(&output) {
        Ok(()) => Ok(output),
        Err(error) => {
            let first = String::from_utf8_lossy(output.get(..SHOWN).unwrap_or(&output)).into_owned();
            let message = format!(
                "`{program}` did not write JSON to its standard output ({error}): {first:?}; print only the output \
                 there, and log messages to the standard error"
            );
            Err(ExecutorError::Output(message))
        }
    }
}

fn not_started(program: &str, found: &Path, error: &std::io::Error) -> ExecutorError {
    let hint = match error.kind() {
        ErrorKind::NotFound if found.is_absolute() => "the interpreter in its first line (`#!`) does not exist",
        ErrorKind::NotFound => {
            "not found: install it, or use a path relative to the workflow's folder, such as `./program`"
        }
        ErrorKind::PermissionDenied => "not executable: run `chmod +x` on it",
        // ENOEXEC
        _ if error.raw_os_error() == Some(8) => "not a program: a script needs a first line such as `#!/bin/sh`",
        _ => return ExecutorError::Unavailable(format!("`{program}` cannot be started: {error}")),
    };
    ExecutorError::Unavailable(format!("`{program}` cannot be started: {hint}"))
}
