//! Every word of the attribute, what it is for, and how a list of words reads.

use std::fmt::{Display, Write as _};

/// What the function is to its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It does the work.
    Work,
    /// It makes the parts.
    Split,
    /// It folds the outputs of the parts.
    Join,
}

impl Role {
    /// What a name of such a function ends in.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Work => "",
            Self::Split => "_part",
            Self::Join => "_join",
        }
    }
}

/// The functions that an option can stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// All three: each of them is called, and may be called again.
    Any,
    /// The one that does the work: the option holds for the task as a whole.
    Work,
    /// The one that makes the parts: the split, or the one that does the work if it splits itself.
    Split,
}

/// Every word of the attribute, in the order in which messages list them.
pub(crate) const WORDS: [(&str, Place); 14] = [
    ("part", Place::Any),
    ("join", Place::Any),
    ("name", Place::Work),
    ("queue", Place::Work),
    ("retries", Place::Any),
    ("backoff", Place::Any),
    ("timeout", Place::Any),
    ("priority", Place::Work),
    ("concurrency", Place::Work),
    ("unique", Place::Work),
    ("chunk", Place::Split),
    ("on_error", Place::Split),
    ("tolerate", Place::Split),
    ("crate", Place::Any),
];

/// Where a word may stand.
pub(crate) fn place(word: &str) -> Option<Place> {
    WORDS.iter().find(|(known, _)| *known == word).map(|(_, place)| *place)
}

/// What to say about a word that is none of them.
pub(crate) fn unknown(word: &str) -> String {
    let mut message = format!("`#[task]` has no option `{word}`");
    let near = |known: &str| strsim::damerau_levenshtein(known, word);
    match WORDS.iter().map(|(known, _)| *known).min_by_key(|known| near(known)) {
        Some(best) if near(best) <= 2 => _ = write!(message, ": did you mean `{best}`?"),
        Some(_) | None => message.push(':'),
    }
    let words: Vec<_> = WORDS.iter().map(|(known, _)| *known).collect();
    _ = write!(message, " there are {}", list(&words));
    message
}

/// A list of words, as it reads in a sentence.
pub(crate) fn list(words: &[impl Display]) -> String {
    match words {
        [] => String::new(),
        [word] => format!("`{word}`"),
        [rest @ .., last] => {
            let rest: Vec<_> = rest.iter().map(|word| format!("`{word}`")).collect();
            format!("{} and `{last}`", rest.join(", "))
        }
    }
}
