//! Diagnostics in machine-readable form, with lines and columns in place of byte offsets.

use serde::Serialize;

use super::{Code, Diagnostic, Level};
use crate::file::{File, Position, Span};

/// A diagnostic for editors and other programs. Lines and columns are counted from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether this is an error or a warning.
    pub level: Level,
    /// The stable code of the error or the warning.
    pub code: Code,
    /// The description of the problem, in one line.
    pub message: String,
    /// The path of the file, as the caller named it.
    pub file: String,
    /// The main location, and the label there; `None` if the diagnostic has no location in the file.
    #[serde(flatten)]
    pub place: Option<ReportLabel>,
    /// Other related locations.
    pub labels: Vec<ReportLabel>,
    /// Explanations of why this is wrong.
    pub notes: Vec<String>,
    /// Suggestions of what to do.
    pub help: Vec<String>,
    /// A location, and the text to insert in its place; `None` if there is no such suggestion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<ReportLabel>,
}

/// A range in the file, with a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportLabel {
    /// The line of the first character.
    pub line: usize,
    /// The column of the first character.
    pub column: usize,
    /// The line of the end.
    pub end_line: usize,
    /// The column after the last character.
    pub end_column: usize,
    /// A label for the range, or the text that replaces it.
    pub text: String,
}

impl ReportLabel {
    fn new(file: &File, span: Span, text: &str) -> Self {
        let Position { line, column } = file.position(span.start);
        let end = file.position(span.end);
        Self { line, column, end_line: end.line, end_column: end.column, text: text.to_owned() }
    }
}

impl Report {
    /// Converts a diagnostic of a file.
    pub fn new(file: &File, diagnostic: &Diagnostic) -> Self {
        let label = |span, text: &str| ReportLabel::new(file, span, text);
        Self {
            level: diagnostic.level,
            code: diagnostic.code,
            message: diagnostic.message.clone(),
            file: file.path().to_owned(),
            place: diagnostic.span.map(|span| label(span, &diagnostic.label)),
            labels: diagnostic.labels.iter().map(|it| label(it.span, &it.text)).collect(),
            notes: diagnostic.notes.clone(),
            help: diagnostic.help.clone(),
            suggestion: diagnostic.suggestion.as_ref().map(|it| label(it.span, &it.text)),
        }
    }
}
