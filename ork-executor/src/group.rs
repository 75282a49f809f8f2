//! A process and all that it starts, in one process group that is ended as a whole.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::guard::Guard;
use ork_ports::executor::Ended;

/// A process with its process group. Dropping it kills the whole group.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    /// The id of the group. `None` once the process has ended and the rest of its group was killed, because the system
    /// may reuse the id.
    id: Option<Pid>,
    guard: Arc<Guard>,
}

/// The standard streams of a process.
#[derive(Debug)]
pub(super) struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

impl Group {
    /// Starts a process in a new group, with pipes as its standard streams.
    pub(super) fn start(mut command: Command, guard: &Arc<Guard>) -> io::Result<(Self, Pipes)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal signals the foreground group. In another group the process ends when ork stops it.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            guard.watch(id);
        }
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let group = Self { child, id, guard: Arc::clone(guard) };
        match (stdin, stdout, stderr) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok((group, Pipes { stdin, stdout, stderr })),
            _ => Err(io::Error::other("the process has no pipes")),
        }
    }

    /// Waits until the process itself has ended. Processes that it has started may still run.
    ///
    /// # Cancel safety
    /// If the future is dropped, the process continues, and can be waited for again.
    pub(super) async fn ended(&mut self) -> Ended {
        // Waiting for a child does not fail while the child exists, so an error means that it is gone.
        self.child.wait().await.map_or(Ended::Code(-1), ended)
    }

    /// Returns whether the process itself has ended, without waiting for it.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM to the whole group.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL to the whole group.
    ///
    /// The system may reuse the id of the group once all of its processes are gone. Call this no later than directly
    /// after the first process has ended.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id
            && let Err(error) = kill_process_group(id, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(group = id.as_raw_nonzero().get(), %error, "cannot signal a process group");
        }
    }

    /// Kills the whole group and waits until the process itself is gone.
    pub(super) async fn end(mut self) -> Ended {
        self.kill();
        let ended = self.ended().await;
        self.unregister();
        ended
    }

    /// Kills what is left of the group after the process itself has ended.
    pub(super) fn sweep(&mut self) {
        self.kill();
        self.unregister();
    }

    fn unregister(&mut self) {
        if let Some(id) = self.id.take() {
            self.guard.forget(id);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.sweep();
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, Some(signal)) => Ended::Signal(signal),
        (None, None) => Ended::Code(-1),
    }
}
