//! The guard: a small shell that outlives this program if it is killed, and then tidies up what it has left behind.
//!
//! Interpreters end by themselves when they hear no more, but a program that runs as a task does not listen, and code
//! in C may not let Python listen.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use rustix::process::Pid;
use tokio::process::Command;

/// Keeps the groups that it is told of, and kills them when its input ends. It also ends when this program ends in
/// order; then there are none.
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

/// The guard of one executor; it is started with the first group.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    NotStarted,
    Started(File),
    /// There is no shell, or it has ended. Everything works without it, as long as this program is not killed.
    Gone,
}

impl Guard {
    /// Takes a group into its keeping.
    pub(super) fn watch(&self, group: Pid) {
        self.tell("watch", &group.to_string());
    }

    /// Lets go of a group that has ended, before another one can get its number.
    pub(super) fn forget(&self, group: Pid) {
        self.tell("forget", &group.to_string());
    }

    /// Takes the private folder into its keeping, which nobody else would remove.
    pub(super) fn remove(&self, folder: &Path) {
        // A path that is no text, or no line, is left where it is.
        if let Some(folder) = folder.to_str().filter(|folder| !folder.contains('\n')) {
            self.tell("remove", folder);
        }
    }

    fn tell(&self, word: &str, what: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::NotStarted) {
            *state = start().map_or_else(|error| gone(&error), State::Started);
        }
        if let State::Started(pipe) = &mut *state
            // It is short enough to be written whole or not at all, and never waits.
            && let Err(error) = pipe.write_all(format!("{word} {what}\n").as_bytes())
        {
            *state = gone(&error);
        }
    }
}

fn gone(error: &io::Error) -> State {
    tracing::warn!(%error, "no shell guards the processes of tasks: if this program is killed, they may go on");
    State::Gone
}

fn start() -> io::Result<File> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(SCRIPT).arg("ork-guard").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Neither a key nor the end of a group that is told to end may end it.
    let mut child = command.process_group(0).current_dir("/").spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| io::Error::other("the shell has no pipe"))?;
    // Whoever drops the child lets the runtime bury it.
    Ok(File::from(stdin.into_owned_fd()?))
}
