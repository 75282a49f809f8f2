//! Reads the frames that an interpreter sends over its private pipe. A frame is a header, which is one line of JSON,
//! and a body whose length the header states.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use ork_ports::executor::Raised;

/// The longest header, in bytes. Long data belongs in the body.
const LONGEST_HEADER: usize = 4 * 1024 * 1024;

/// The number of bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// One message from an interpreter.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Frame {
    /// The interpreter is too old.
    Unfit { message: String },
    /// The interpreter has started and takes requests.
    Ready { python: String },
    /// The file is loaded.
    Loaded,
    /// The file cannot be loaded.
    Unloadable(Exception),
    /// A call returned. The body is its output.
    Returned { id: u64, bytes: usize },
    /// The types of the function are described in the body.
    Described { id: u64, bytes: usize },
    /// A call raised an exception.
    Raised {
        id: u64,
        #[serde(flatten)]
        exception: Exception,
    },
    /// The input does not fit the function.
    Rejected { id: u64, field: String, message: String },
    /// The returned value cannot be written as JSON, or is too large.
    Unwritable { id: u64, message: String },
    /// A call ended because it was cancelled.
    Cancelled { id: u64 },
    /// A line for the log.
    Log { level: String, line: String },
    /// A measurement.
    Metric { name: String, value: f64, labels: BTreeMap<String, String> },
    /// The progress of a call.
    Progress { percent: f64, info: String },
}

/// An exception, as the Python side describes it.
#[derive(Debug, Deserialize)]
pub(super) struct Exception {
    message: String,
    kind: String,
    details: Option<Value>,
    at: Vec<String>,
    traceback: String,
    retry: bool,
}

impl From<Exception> for Raised {
    fn from(exception: Exception) -> Self {
        let Exception { message, kind, details, at, traceback, retry } = exception;
        Self { message, kind, details, at, traceback, retry }
    }
}

impl Frame {
    const fn body(&self) -> usize {
        match self {
            Self::Returned { bytes, .. } | Self::Described { bytes, .. } => *bytes,
            _ => 0,
        }
    }

    /// Returns the id of the call that this frame ends, if it ends one.
    pub(super) const fn ends(&self) -> Option<u64> {
        match self {
            Self::Returned { id, .. }
            | Self::Described { id, .. }
            | Self::Raised { id, .. }
            | Self::Rejected { id, .. }
            | Self::Unwritable { id, .. }
            | Self::Cancelled { id } => Some(*id),
            _ => None,
        }
    }
}

/// One result of reading the pipe.
#[derive(Debug)]
pub(super) enum Received {
    /// A frame with its body.
    Frame(Frame, Bytes),
    /// A line that the start of Python printed, before the interpreter was ready.
    Line(String),
    /// The pipe is closed.
    End,
    /// Data that violates the protocol.
    Nonsense,
}

/// Reads frames from a stream.
#[derive(Debug)]
pub(super) struct Frames<R> {
    from: R,
    buffer: BytesMut,
    /// The number of bytes of the buffer that have been searched for the end of a line.
    seen: usize,
    /// A frame whose body has not arrived completely.
    waiting: Option<Frame>,
    /// Whether the interpreter has sent its first frame. Before it, other lines are no violation of the protocol.
    greeted: bool,
    most: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Creates a reader of frames whose bodies have at most `most` bytes.
    pub(super) fn new(from: R, most: usize) -> Self {
        Self { from, buffer: BytesMut::new(), seen: 0, waiting: None, greeted: false, most }
    }

    /// Waits for the next frame or line and returns it.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing that was read is lost.
    pub(super) async fn next(&mut self) -> Received {
        loop {
            if let Some(received) = self.take() {
                return received;
            }
            let missing = self.waiting.as_ref().map_or(0, Frame::body).saturating_sub(self.buffer.len());
            self.buffer.reserve(missing.max(CHUNK));
            if !matches!(self.from.read_buf(&mut self.buffer).await, Ok(1..)) {
                return Received::End;
            }
        }
    }

    fn take(&mut self) -> Option<Received> {
        loop {
            if let Some(frame) = self.waiting.take_if(|frame| frame.body() <= self.buffer.len()) {
                let body = self.buffer.split_to(frame.body()).freeze();
                if body.len() > CHUNK {
                    // Sharing it with the rest of the buffer would keep the memory of a large body alive.
                    self.buffer = BytesMut::from(&*self.buffer);
                }
                return Some(Received::Frame(frame, body));
            }
            if self.waiting.is_some() {
                return None;
            }
            let new = self.buffer.get(self.seen..).unwrap_or_default();
            let Some(end) = new.iter().position(|byte| *byte == b'\n') else {
                self.seen = self.buffer.len();
                return (self.seen > LONGEST_HEADER).then_some(Received::Nonsense);
            };
            let line = self.buffer.split_to(self.seen + end + 1);
            self.seen = 0;
            match serde_json::from_slice::<Frame>(&line) {
                Ok(frame) if frame.body() <= self.most => {
                    self.greeted |= matches!(frame, Frame::Ready { .. } | Frame::Unfit { .. });
                    self.waiting = Some(frame);
                }
                _ if line.trim_ascii().is_empty() => {}
                Err(_) if !self.greeted => {
                    return Some(Received::Line(String::from_utf8_lossy(line.trim_ascii()).into_owned()));
                }
                Ok(_) | Err(_) => return Some(Received::Nonsense),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a text that arrives in pieces of this size.
    async fn received(text: &str, piece: usize) -> Vec<String> {
        let (mut to, from) = tokio::io::duplex(piece);
        let write = async move { tokio::io::AsyncWriteExt::write_all(&mut to, text.as_bytes()).await.unwrap() };
        let read = async {
            let (mut frames, mut received) = (Frames::new(from, 100), Vec::new());
            loop {
                match frames.next().await {
                    Received::Frame(frame, body) => received.push(format!("{:?} {}", frame.ends(), body.len())),
                    Received::Line(line) => received.push(line),
                    Received::End => return received,
                    Received::Nonsense => received.push("nonsense".into()),
                }
            }
        };
        tokio::join!(write, read).1
    }

    #[tokio::test]
    async fn frames_are_read_in_pieces_of_any_size() {
        let text = "hello\n\n{\"type\":\"ready\",\"python\":\"3\"}\n{\"type\":\"returned\",\"id\":7,\"bytes\":3}\n\n\n\n{\"type\":\"loaded\"}\n{\"type\":\"returned\",\"id\":8,\"bytes\":101}\nhello\n";
        for piece in [1, 2, 7, 1000] {
            let expected = ["hello", "None 0", "Some(7) 3", "None 0", "nonsense", "nonsense"];
            assert_eq!(received(text, piece).await, expected, "{piece}");
        }
    }
}
