//! What happened in a run: a digest of all of it, and the lines for a person to read if they are asked for.

use std::fmt::Write as _;

#[derive(Debug, Default)]
pub(crate) struct Trace {
    keeps: bool,
    digest: u64,
    line: String,
    lines: Vec<String>,
}

impl Trace {
    pub(crate) fn new(keeps: bool) -> Self {
        Self { keeps, digest: 0xcbf2_9ce4_8422_2325, ..Self::default() }
    }

    /// Notes what happened at a moment, in virtual microseconds, and where.
    pub(crate) fn note(&mut self, at: u64, place: &str, what: std::fmt::Arguments<'_>) {
        self.line.clear();
        let (secs, micros) = (at / 1_000_000, at % 1_000_000);
        write!(self.line, "{secs:>6}.{micros:06}  {place:<6} {what}").unwrap();
        // FNV-1a.
        for byte in self.line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.keeps {
            self.lines.push(self.line.clone());
        }
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }
}
