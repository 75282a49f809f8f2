//! A process and all that it starts: one process group, which ends as a whole.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::guard::Guard;
use crate::executor::Ended;

/// A process with its group. When it is dropped the whole group is killed.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    /// Its number, until it is known to have ended.
    id: Option<Pid>,
    guard: Arc<Guard>,
}

/// The ends of a process's pipes.
#[derive(Debug)]
pub(super) struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

impl Group {
    /// Starts a process in a group of its own, with pipes.
    pub(super) fn start(mut command: Command, guard: &Arc<Guard>) -> io::Result<(Self, Pipes)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Keys such as Ctrl-C reach the group in front: what runs here is told by ork.
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

    /// Waits until the process itself has ended; what it has started may go on.
    ///
    /// # Cancel safety
    /// If the future is dropped the process goes on, and can be waited for again.
    pub(super) async fn ended(&mut self) -> Ended {
        // The system knows its own children; if it did not, this one would be gone.
        self.child.wait().await.map_or(Ended::Code(-1), ended)
    }

    /// Whether the process itself has ended, as far as is known without waiting.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the whole group to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the whole group. Its number may be given away once all of its processes are gone, so this is for the
    /// moment in which the first of them has ended, and not for later.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id
            && let Err(error) = kill_process_group(id, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(group = id.as_raw_nonzero().get(), %error, "a group of processes cannot be signalled");
        }
    }

    /// Ends the whole group and waits until the process is gone.
    pub(super) async fn end(mut self) -> Ended {
        self.kill();
        let ended = self.ended().await;
        self.let_go();
        ended
    }

    /// Ends what is left of the group after its process has ended.
    pub(super) fn sweep(&mut self) {
        self.kill();
        self.let_go();
    }

    fn let_go(&mut self) {
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
