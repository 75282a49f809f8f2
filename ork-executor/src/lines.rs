//! Reads standard error as lines: each goes to the listener, and the last ones are kept. Memory use is bounded, however
//! much a process writes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Level;

use ork_ports::executor::CallObserver;

/// The longest line, in bytes. The rest of a longer one is dropped.
const LONGEST: usize = 8 * 1024;

/// The number of last lines that are kept, to be shown if the process crashes.
const KEPT: usize = 20;

/// The mark that stands for a closed standard error: no other mark follows it.
const CLOSED: u64 = u64::MAX;

/// Reads the standard error of one process.
#[derive(Debug)]
pub(super) struct StderrReader {
    inner: Mutex<Inner>,
    /// The last mark that was read, or [`CLOSED`].
    marks: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    listener: Option<Arc<dyn CallObserver>>,
    last: VecDeque<String>,
}

impl StderrReader {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), marks: watch::Sender::new(0) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends all later lines to this listener, and forgets the ones that were kept. Without a listener, lines go only
    /// to the debug log of this process.
    pub(super) fn listen(&self, listener: Option<Arc<dyn CallObserver>>) {
        let mut inner = self.inner();
        inner.last.clear();
        inner.listener = listener;
    }

    /// Returns the last lines.
    pub(super) fn last(&self) -> Vec<String> {
        self.inner().last.iter().cloned().collect()
    }

    /// Keeps a line, and passes it to the listener.
    pub(super) fn on_line(&self, line: &str) {
        let listener = {
            let mut inner = self.inner();
            if inner.last.len() == KEPT {
                inner.last.pop_front();
            }
            inner.last.push_back(line.to_owned());
            inner.listener.clone()
        };
        if let Some(listener) = listener {
            listener.log(Level::INFO, line);
        } else {
            tracing::debug!(target: "ork::task", line, "output between two calls");
        }
    }

    /// Waits until this mark has been read, or standard error is closed.
    pub(super) async fn marked(&self, mark: u64) {
        // This fails only if the sender is dropped, and the sender is part of `self`.
        drop(self.marks.subscribe().wait_for(|seen| *seen == CLOSED || *seen == mark).await);
    }

    /// Waits until standard error is closed.
    pub(super) async fn closed(&self) {
        self.marked(CLOSED).await;
    }

    /// Reads in a background task until the stream ends or the returned guard is dropped. The guard is needed because a
    /// process that has left its group can hold the stream open.
    pub(super) fn read_by(self: &Arc<Self>, tasks: &TaskTracker, from: ChildStderr) -> DropGuard {
        let abandoned = CancellationToken::new();
        let guard = abandoned.clone().drop_guard();
        let reader = Arc::clone(self);
        tasks.spawn(async move { abandoned.run_until_cancelled(reader.read(from)).await });
        guard
    }

    async fn read(&self, mut from: ChildStderr) {
        let (mut lines, mut chunk) = (Lines::default(), vec![0; 8 * 1024]);
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            lines.push(chunk.get(..count).unwrap_or_default(), |line| self.take(line));
        }
        lines.push(b"\n", |line| self.take(line));
        self.marks.send_replace(CLOSED);
    }

    fn take(&self, line: &str) {
        let (line, mark) = match mark(line) {
            Some((before, mark)) => (before, Some(mark)),
            None => (line, None),
        };
        if !line.trim_end().is_empty() {
            self.on_line(line.trim_end());
        }
        if let Some(mark) = mark {
            self.marks.send_replace(mark);
        }
    }
}

/// Splits a line into its text and the mark at its end, if there is one. The Python side writes a mark after everything
/// that a call has printed.
fn mark(line: &str) -> Option<(&str, u64)> {
    let (before, mark) = line.strip_suffix('\0')?.rsplit_once("\0ork ")?;
    Some((before, mark.parse().ok()?))
}

/// Splits a stream of bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    /// Whether the last byte was a carriage return. Unless the line ends now, the next byte starts it over, as progress
    /// bars do.
    returned: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    each(&String::from_utf8_lossy(&self.line));
                    self.line.clear();
                    self.returned = false;
                    continue;
                }
                b'\r' => {
                    self.returned = true;
                    continue;
                }
                _ => {}
            }
            if std::mem::take(&mut self.returned) {
                self.line.clear();
            }
            if self.line.len() < LONGEST {
                self.line.push(byte);
            } else if byte == 0 {
                // A mark that follows a line without a newline must not be dropped, even if that line is too long.
                self.line.clear();
                self.line.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&str]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk.as_bytes(), |line| found.push(line.to_owned()));
        }
        found
    }

    #[test]
    fn lines_are_joined_from_pieces_and_a_progress_bar_is_one_line() {
        assert_eq!(lines(&["a", "b\nc\r\n", "10%\r50%", "\r100%\n"]), ["ab", "c", "100%"]);
    }

    #[test]
    fn long_line_is_cut_but_its_mark_is_kept() {
        let found = lines(&[&"x".repeat(LONGEST * 3), "\0ork 7\0\n", "next\n"]);
        assert_eq!(mark(&found[0]), Some(("", 7)));
        assert_eq!(found[1], "next");
        assert_eq!(mark("half\0ork 9\0"), Some(("half", 9)));
        assert_eq!(mark("none"), None);
    }
}
