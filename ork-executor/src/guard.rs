//! The guard: a small shell process that outlives this program if it is killed, and cleans up what is left behind.
//!
//! An interpreter ends by itself when its input is closed. But a program that runs as a task does not watch for this,
//! and C code can keep an interpreter from noticing it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use rustix::process::Pid;
use tokio::process::Command;

/// Remembers the process groups that are registered with it, and kills them when its input ends. Its input also ends
/// when this program exits normally; no groups are registered then.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=' ' folder=
while read -r word group; do
    case $word in
    watch) groups="$groups$group " ;;
    forget) groups="${groups%% "$group" *} ${groups#* "$group" }" ;;
    remove) folder=$group ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
if [ -n "$folder" ]; then rm -rf -- "$folder"; fi
"#;

/// The guard of one executor. Its shell is started on first use.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    NotStarted,
    Started(File),
    /// The shell could not be started, or has ended. Everything works without it, as long as this program is not
    /// killed.
    Unavailable,
}

impl Guard {
    /// Registers a group, which is killed if this program is killed.
    pub(super) fn watch(&self, group: Pid) {
        self.send("watch", &group.to_string());
    }

    /// Unregisters a group that has ended, before the system can reuse its id for another group.
    pub(super) fn forget(&self, group: Pid) {
        self.send("forget", &group.to_string());
    }

    /// Registers the private folder, which is removed if this program is killed: nothing else would remove it then.
    pub(super) fn remove(&self, folder: &Path) {
        // A path that is not UTF-8, or contains a newline, cannot be sent to the shell: its folder stays.
        if let Some(folder) = folder.to_str().filter(|folder| !folder.contains('\n')) {
            self.send("remove", folder);
        }
    }

    fn send(&self, word: &str, what: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::NotStarted) {
            *state = start().map_or_else(|error| unavailable(&error), State::Started);
        }
        if let State::Started(pipe) = &mut *state
            // The line is short enough for the pipe to take it whole or not at all, and the write does not block.
            && let Err(error) = pipe.write_all(format!("{word} {what}\n").as_bytes())
        {
            *state = unavailable(&error);
        }
    }
}

fn unavailable(error: &io::Error) -> State {
    tracing::warn!(
        %error,
        "cannot start the shell that guards the processes of tasks: if this program is killed, they may keep running"
    );
    State::Unavailable
}

fn start() -> io::Result<File> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(SCRIPT).arg("ork-guard").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // In another group it is not ended by Ctrl-C, nor by a signal to the group of this program.
    let mut child = command.process_group(0).current_dir("/").spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| io::Error::other("the shell has no pipe"))?;
    // Dropping the child leaves it to the runtime to reap the process.
    Ok(File::from(stdin.into_owned_fd()?))
}
