//! What is wrong with a workflow: where, why, and what to do about it.

mod code;
mod json;
mod render;

pub use code::Code;
pub use json::{Report, ReportLabel};
pub use render::{Style, render};

use serde::Serialize;

use crate::file::Span;

/// Whether a workflow can run in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It cannot run.
    Error,
    /// It can run, but hardly as it was meant.
    Warning,
}

/// What is said of a place besides the main one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is said of it.
    pub text: String,
}

/// What to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// In the place of this.
    pub span: Span,
    /// This.
    pub text: String,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// What kind of thing it is.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; `None` if it is nowhere in the file.
    pub span: Option<Span>,
    /// What is said of that place.
    pub label: String,
    /// What is said of other places.
    pub labels: Vec<Label>,
    /// Why it is wrong.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Vec<String>,
    /// What an editor can put in its place.
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

    /// Where it is, and what is said of the place.
    pub(crate) fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.span = Some(span);
        self.label = label.into();
        self
    }

    /// Another place.
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

    /// Asks whether another word was meant.
    pub(crate) fn did_you_mean(mut self, span: Span, word: &str) -> Self {
        self.help.push(format!("did you mean `{word}`?"));
        self.suggestion = Some(Suggestion { span, text: word.to_owned() });
        self
    }

    /// Asks the same if a word that is near enough is known, else lists what there is.
    pub(crate) fn meant<'a>(self, span: Span, word: &str, known: impl Iterator<Item = &'a str>, what: &str) -> Self {
        let known: Vec<&str> = known.collect();
        match nearest(word, known.iter().copied()) {
            Some(near) => self.did_you_mean(span, near),
            None if known.is_empty() => self,
            None => self.note(format!("{what}: {}", list(&known))),
        }
    }

    /// Whether it keeps the workflow from running.
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}

/// No more problems of one file are kept; errors are kept before warnings.
const MOST: usize = 500;

/// What is found on the way.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Diagnostic>);

impl Problems {
    pub(crate) fn add(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// All of them in the order of the file; what is nowhere in it comes last.
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

/// The word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    let far = |it: &str| {
        if fold(it) == folded { 0 } else { strsim::damerau_levenshtein(&folded, &fold(it)) }
    };
    let limit = (word.chars().count() / 3).clamp(1, 4);
    known.map(|it| (far(it), it)).filter(|(far, _)| *far <= limit).min_by_key(|(far, _)| *far).map(|(_, it)| it)
}

/// A word without what people mix up.
fn fold(word: &str) -> String {
    word.chars().filter(|it| !matches!(it, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Words as a list, not too many of them.
pub(crate) fn list(words: &[&str]) -> String {
    const MOST: usize = 16;
    let all = words.iter().take(MOST).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match words.len().saturating_sub(MOST) {
        0 => all,
        more => format!("{all} and {more} more"),
    }
}
