//! Diagnostics for programs: with lines and columns instead of bytes.

use serde::Serialize;

use super::{Code, Diagnostic, Level};
use crate::file::{File, Position, Span};

/// A diagnostic as editors and other programs read it. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How bad it is.
    pub level: Level,
    /// What kind of thing it is.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// The file as the caller named it.
    pub file: String,
    /// Where it begins and what is said there; `None` if it is nowhere in the file.
    #[serde(flatten)]
    pub place: Option<ReportLabel>,
    /// Other places that have to do with it.
    pub labels: Vec<ReportLabel>,
    /// Why it is wrong.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Vec<String>,
    /// What to write in the place of some text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<ReportLabel>,
}

/// A place and a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportLabel {
    /// The line it begins in.
    pub line: usize,
    /// The column it begins in.
    pub column: usize,
    /// The line it ends in.
    pub end_line: usize,
    /// The column after its end.
    pub end_column: usize,
    /// What is said of it, or to be written there.
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
    /// A diagnostic of a file.
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
