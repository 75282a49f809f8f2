//! What an interpreter says over its private pipe: a line of JSON, and after it as many bytes as the line says.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::executor::Raised;

/// A header is no longer than this; what is long comes after it.
const LONGEST_HEADER: usize = 4 * 1024 * 1024;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// One thing that an interpreter says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Frame {
    /// It is too old.
    Unfit { message: String },
    /// It listens.
    Ready { python: String },
    /// The file is loaded.
    Loaded,
    /// The file cannot be loaded.
    Unloadable(Told),
    /// A call returned.
    Returned { id: u64, bytes: usize },
    /// The types of the function.
    Described { id: u64, bytes: usize },
    /// A call raised an exception.
    Raised {
        id: u64,
        #[serde(flatten)]
        told: Told,
    },
    /// The input is not what the function takes.
    Rejected { id: u64, field: String, message: String },
    /// What the function returned is no JSON.
    Unwritable { id: u64, message: String },
    /// A call has ended because it was cancelled.
    Cancelled { id: u64 },
    /// A line for the log.
    Log { level: String, line: String },
    /// A measurement.
    Metric { name: String, value: f64, labels: BTreeMap<String, String> },
    /// How far a call has come.
    Progress { percent: f64, info: String },
}

/// An exception, as Python tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    message: String,
    kind: String,
    details: Option<Value>,
    at: Vec<String>,
    traceback: String,
    retry: bool,
}

impl From<Told> for Raised {
    fn from(told: Told) -> Self {
        let Told { message, kind, details, at, traceback, retry } = told;
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

    /// The call that it ends, if it ends one.
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

/// What was read.
#[derive(Debug)]
pub(super) enum Heard {
    /// A frame with its body.
    Frame(Frame, Bytes),
    /// A line from before the interpreter listened: whatever its start has printed.
    Line(String),
    /// The end.
    End,
    /// What no interpreter of ork says.
    Nonsense,
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct Frames<R> {
    from: R,
    buffer: BytesMut,
    /// How much of the buffer has been looked at for the end of a line.
    seen: usize,
    /// A frame whose body is not there yet.
    waiting: Option<Frame>,
    greeted: bool,
    most: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads frames whose bodies have at most this many bytes.
    pub(super) fn new(from: R, most: usize) -> Self {
        Self { from, buffer: BytesMut::new(), seen: 0, waiting: None, greeted: false, most }
    }

    /// What comes next.
    ///
    /// # Cancel safety
    /// If the future is dropped nothing is lost.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.take() {
                return heard;
            }
            let missing = self.waiting.as_ref().map_or(0, Frame::body).saturating_sub(self.buffer.len());
            self.buffer.reserve(missing.max(CHUNK));
            if !matches!(self.from.read_buf(&mut self.buffer).await, Ok(1..)) {
                return Heard::End;
            }
        }
    }

    fn take(&mut self) -> Option<Heard> {
        loop {
            if let Some(frame) = self.waiting.take_if(|frame| frame.body() <= self.buffer.len()) {
                let body = self.buffer.split_to(frame.body()).freeze();
                if body.len() > CHUNK {
                    // The rest of the buffer would keep all of the memory of a large body.
                    self.buffer = BytesMut::from(&*self.buffer);
                }
                return Some(Heard::Frame(frame, body));
            }
            if self.waiting.is_some() {
                return None;
            }
            let new = self.buffer.get(self.seen..).unwrap_or_default();
            let Some(end) = new.iter().position(|byte| *byte == b'\n') else {
                self.seen = self.buffer.len();
                return (self.seen > LONGEST_HEADER).then_some(Heard::Nonsense);
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
                    return Some(Heard::Line(String::from_utf8_lossy(line.trim_ascii()).into_owned()));
                }
                Ok(_) | Err(_) => return Some(Heard::Nonsense),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads what comes in pieces of this size.
    async fn heard(text: &str, piece: usize) -> Vec<String> {
        let (mut to, from) = tokio::io::duplex(piece);
        let write = async move { tokio::io::AsyncWriteExt::write_all(&mut to, text.as_bytes()).await.unwrap() };
        let read = async {
            let (mut frames, mut heard) = (Frames::new(from, 100), Vec::new());
            loop {
                match frames.next().await {
                    Heard::Frame(frame, body) => heard.push(format!("{:?} {}", frame.ends(), body.len())),
                    Heard::Line(line) => heard.push(line),
                    Heard::End => return heard,
                    Heard::Nonsense => heard.push("nonsense".into()),
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
            assert_eq!(heard(text, piece).await, expected, "{piece}");
        }
    }
}
