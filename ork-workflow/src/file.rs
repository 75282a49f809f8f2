//! The text of a workflow file, and locations in it: byte offsets internally, lines and columns for users.

use serde::Serialize;

/// A range of bytes in a text, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The offset of the first byte.
    pub start: usize,
    /// The offset after the last byte.
    pub end: usize,
}

impl Span {
    /// Creates a range from byte `start` up to but not including `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Returns the range from the start of this one to the end of the other.
    pub(crate) fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end.max(self.start) }
    }
}

/// A line and a column, both counted from 1. Columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line number.
    pub line: usize,
    /// The column number.
    pub column: usize,
}

/// The text of a file that may contain a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    path: String,
    text: String,
    broken: Option<usize>,
}

impl File {
    /// Creates a file from its text, and its path as messages show it. The last component of the path, without its
    /// extension, is the name of a workflow that has no key `name`.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), broken: None }
    }

    /// Creates a file from bytes. If they are not UTF-8, the check reports that.
    pub fn from_bytes(path: impl Into<String>, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::new(path, text),
            Err(error) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                Self { path: path.into(), text, broken: Some(error.valid_up_to()) }
            }
        }
    }

    /// Returns the path as messages show it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the offset of the first byte that is not valid UTF-8; `None` if all are valid.
    pub(crate) fn broken(&self) -> Option<usize> {
        self.broken
    }

    /// Returns the default name of the workflow: the last component of the path, without its extension.
    pub fn stem(&self) -> &str {
        let last = self.path.rsplit(['/', '\\']).next().unwrap_or(&self.path);
        last.rsplit_once('.').map_or(last, |(stem, _)| stem)
    }

    /// Returns the text of a range.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Returns the line and the column of a byte.
    pub fn position(&self, byte: usize) -> Position {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(begin..).map_or(0, |line| line.chars().count()) + 1;
        Position { line, column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let file = File::new("workflows/daily.prod.yaml", "a: ä\nbö: x");
        assert_eq!(file.position(0), Position { line: 1, column: 1 });
        assert_eq!(file.position(6), Position { line: 2, column: 1 });
        assert_eq!(file.position(9), Position { line: 2, column: 3 });
        assert_eq!(file.stem(), "daily.prod");
        assert_eq!(File::new("daily", "").stem(), "daily");
    }
}
