//! The trace of a run: a digest of everything that happened, and the lines for a person to read if they are requested.
//! `docs/simulator.md` explains them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ork::JobId;

/// Whether a line is printed. All of them count in the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Shown,
    /// The line only shows that nothing is wrong.
    Routine,
}

#[derive(Debug, Default)]
pub(crate) struct Trace {
    is_printed: bool,
    digest: u64,
    line: String,
    lines: Vec<String>,
    /// The number that the client has given to each job.
    numbers: BTreeMap<JobId, u64>,
}

impl Trace {
    pub(crate) fn new(is_printed: bool) -> Self {
        Self { is_printed, digest: 0xcbf2_9ce4_8422_2325, ..Self::default() }
    }

    /// Records what happened at a moment, in virtual microseconds, and where.
    pub(crate) fn note(&mut self, at: u64, place: &str, interest: Interest, what: std::fmt::Arguments<'_>) {
        self.line.clear();
        write!(self.line, "{:>13}  {place:<6} {what}", Moment(at)).unwrap();
        // FNV-1a.
        for byte in self.line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.is_printed && interest == Interest::Shown {
            self.lines.push(self.line.clone());
        }
    }

    /// Records the number that the client uses for a job.
    pub(crate) fn names(&mut self, job: JobId, number: u64) {
        self.numbers.insert(job, number);
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Inserts the number of each job before its id, if it has one.
    pub(crate) fn with_numbers(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (job, number) in &self.numbers {
            let id = job.to_string();
            // Not in the name of a part queue, where it would confuse.
            for before in [" ", "=", "\""] {
                text = text.replace(&format!("{before}{id}"), &format!("{before}#{number} {id}"));
            }
        }
        text
    }
}

/// A virtual moment in microseconds, shown in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(pub(crate) u64);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000))
    }
}
