//! Diagnostics: what is wrong with a workflow, where, why, and how to fix it.

mod code;
mod json;
mod render;

pub use code::Code;
pub use json::{Report, ReportLabel};
pub use render::{Style, render};

use serde::Serialize;

use crate::file::Span;

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The workflow cannot run.
    Error,
    /// The workflow can run, but probably does not do what was meant.
    Warning,
}

/// A label for a location other than the main one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The location.
    pub span: Span,
    /// The text of the label.
    pub text: String,
}

/// A replacement that may fix the problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The range to replace.
    pub span: Span,
    /// The new text.
    pub text: String,
}

/// An error or a warning in a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether this is an error or a warning.
    pub level: Level,
    /// The stable code of the error or the warning.
    pub code: Code,
    /// The description of the problem, in one line.
    pub message: String,
    /// The main location; `None` if the problem has no location in the file.
    pub span: Option<Span>,
    /// The label of the main location.
    pub label: String,
    /// Labels of other related locations.
    pub labels: Vec<Label>,
    /// Explanations of why this is wrong.
    pub notes: Vec<String>,
    /// Suggestions of what to do.
    pub help: Vec<String>,
    /// A replacement that an editor can apply; `None` if there is none.
    pub suggestion: Option<Suggestion>,
}

impl Diagnostic {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            level: code.level(),
            code,
            message: message.into(),
            span: None,
            label: String::new(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
            suggestion: None,
        }
    }

    /// Sets the main location and its label.
    pub(crate) fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.span = Some(span);
        self.label = label.into();
        self
    }

    /// Adds another location.
    pub(crate) fn and(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    pub(crate) fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Suggests another word.
    pub(crate) fn did_you_mean(mut self, span: Span, word: &str) -> Self {
        self.help.push(format!("did you mean `{word}`?"));
        self.suggestion = Some(Suggestion { span, text: word.to_owned() });
        self
    }

    /// Suggests the most similar of the known words; if none is similar enough, lists them all.
    pub(crate) fn suggest<'a>(self, span: Span, word: &str, known: impl Iterator<Item = &'a str>, what: &str) -> Self {
        let known: Vec<&str> = known.collect();
        match nearest(word, known.iter().copied()) {
            Some(near) => self.did_you_mean(span, near),
            None if known.is_empty() => self,
            None => self.note(format!("{what}: {}", list(&known))),
        }
    }

    /// Returns whether this diagnostic prevents the workflow from running.
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}

/// The maximum number of diagnostics that are kept for one file. Errors are kept before warnings.
const MOST: usize = 500;

/// Collects the diagnostics of a file.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Diagnostic>);

impl Problems {
    pub(crate) fn add(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns all diagnostics in the order of the file. Those without a location come last.
    pub(crate) fn sorted(mut self) -> Vec<Diagnostic> {
        let place = |it: &Diagnostic| it.span.map_or((1, Span::default()), |span| (0, span));
        let order = |a: &Diagnostic, b: &Diagnostic| {
            place(a).cmp(&place(b)).then(a.level.cmp(&b.level)).then_with(|| a.message.cmp(&b.message))
        };
        self.0.sort_by(order);
        self.0.dedup();
        if self.0.len() > MOST {
            self.0.sort_by_key(|it| it.level);
            self.0.truncate(MOST);
            self.0.sort_by(order);
        }
        self.0
    }
}

/// Returns the known word that was probably meant, if one is similar enough.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    let distance = |it: &str| {
        if fold(it) == folded { 0 } else { strsim::damerau_levenshtein(&folded, &fold(it)) }
    };
    let limit = (word.chars().count() / 3).clamp(1, 4);
    known
        .map(|it| (distance(it), it))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it)
}

/// Removes the differences that are often confused: case, spaces, `_` and `-`.
fn fold(word: &str) -> String {
    word.chars().filter(|it| !matches!(it, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Formats words as a list, truncated if there are many.
pub(crate) fn list(words: &[&str]) -> String {
    const MOST: usize = 16;
    let all = words.iter().take(MOST).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match words.len().saturating_sub(MOST) {
        0 => all,
        more => format!("{all} and {more} more"),
    }
}
