//! All options of the attribute, where they are allowed, and how lists of options are formatted.

use std::fmt::{Display, Write as _};

/// The role of a function in its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The function does the work.
    Work,
    /// The function makes the parts.
    Split,
    /// The function combines the outputs of the parts.
    Join,
}

impl Role {
    /// The ending of the names of functions with this role.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Work => "",
            Self::Split => "_part",
            Self::Join => "_join",
        }
    }
}

/// The functions on which an option is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// All three functions: each of them is called and may be retried.
    Any,
    /// The function that does the work: the option applies to the whole task.
    Work,
    /// The function that makes the parts: the split, or the function that does the work if it splits itself.
    Split,
}

/// All options of the attribute, in the order in which messages list them.
pub(crate) const OPTIONS: [(&str, Place); 14] = [
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

/// Returns where an option is allowed, or `None` if there is no such option.
pub(crate) fn place(option: &str) -> Option<Place> {
    OPTIONS.iter().find(|(known, _)| *known == option).map(|(_, place)| *place)
}

/// Returns the message for an unknown option.
pub(crate) fn unknown(option: &str) -> String {
    let mut message = format!("`#[task]` has no option `{option}`");
    let distance = |known: &str| strsim::damerau_levenshtein(known, option);
    match OPTIONS.iter().map(|(known, _)| *known).min_by_key(|known| distance(known)) {
        Some(best) if distance(best) <= 2 => _ = write!(message, ": did you mean `{best}`?"),
        Some(_) | None => message.push(':'),
    }
    let options: Vec<_> = OPTIONS.iter().map(|(known, _)| *known).collect();
    _ = write!(message, " the options are {}", list(&options));
    message
}

/// Formats a list of options for use in a sentence.
pub(crate) fn list(options: &[impl Display]) -> String {
    match options {
        [] => String::new(),
        [option] => format!("`{option}`"),
        [rest @ .., last] => {
            let rest: Vec<_> = rest.iter().map(|option| format!("`{option}`")).collect();
            format!("{} and `{last}`", rest.join(", "))
        }
    }
}
