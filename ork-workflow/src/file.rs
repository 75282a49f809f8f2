//! A workflow's text and its name, and the places in it: bytes inside, lines and columns outside.

use serde::Serialize;

/// A place in a text: from a byte to before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    /// A place from a byte to before another one.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The place from the beginning of this one to the end of the other.
    pub(crate) fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end.max(self.start) }
    }
}

/// A line and a column, both from 1. Columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A text that may be a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    path: String,
    text: String,
    broken: Option<usize>,
}

impl File {
    /// A text, and its path as messages show it. The path's last part without its ending is the name of a workflow
    /// that does not say its own.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), broken: None }
    }

    /// The same of bytes, which may turn out not to be a text.
    pub fn from_bytes(path: impl Into<String>, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::new(path, text),
            Err(error) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                Self { path: path.into(), text, broken: Some(error.valid_up_to()) }
            }
        }
    }

    /// Its path as messages show it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it stops being UTF-8, if it does.
    pub(crate) fn broken(&self) -> Option<usize> {
        self.broken
    }

    /// The name that a workflow has by its file.
    pub fn stem(&self) -> &str {
        let last = self.path.rsplit(['/', '\\']).next().unwrap_or(&self.path);
        last.rsplit_once('.').map_or(last, |(stem, _)| stem)
    }

    /// The text of a place.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// The line and column of a byte.
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
        let file = File::new("flows/daily.prod.yaml", "a: ä\nbö: x");
        assert_eq!(file.position(0), Position { line: 1, column: 1 });
        assert_eq!(file.position(6), Position { line: 2, column: 1 });
        assert_eq!(file.position(9), Position { line: 2, column: 3 });
        assert_eq!(file.stem(), "daily.prod");
        assert_eq!(File::new("daily", "").stem(), "daily");
    }
}
