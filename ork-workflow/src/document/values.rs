//! Reads single values: strings, numbers, durations, enumerated words, names and references.

use crate::diagnostic::{Code, Diagnostic, Problems, list};
use crate::document::{Constant, ITEM, Path};
use crate::file::{File, Span};
use crate::yaml::{Kind, Node, Word};

/// The maximum length of a name, in characters.
const LONGEST: usize = 64;

/// Reports a value of the wrong type, unless the value is broken and was reported already.
pub(super) fn wrong(node: &Node, expected: &str, problems: &mut Problems) {
    if !matches!(node.kind, Kind::Broken) {
        let problem = Diagnostic::new(Code::WrongValue, format!("{expected}, found {}", node.type_name()));
        problems.add(problem.at(node.place(), format!("this is {}", node.type_name())));
    }
}

/// Reads a string. For a number or a boolean, the message suggests quotes.
pub(super) fn text(file: &File, node: &Node, what: &str, problems: &mut Problems) -> Option<Word> {
    match &node.kind {
        Kind::Text(text) => Some(Word { text: text.clone(), span: node.span }),
        Kind::Bool(_) | Kind::Number(_) => {
            let message = format!("{what} must be a string, found {}", node.type_name());
            let problem = Diagnostic::new(Code::WrongValue, message);
            let help = format!("quote it: \"{}\"", file.slice(node.span));
            problems.add(problem.at(node.span, format!("this is {}", node.type_name())).help(help));
            None
        }
        _ => {
            wrong(node, &format!("{what} must be a string"), problems);
            None
        }
    }
}

/// Reads a whole number within bounds.
pub(super) fn number(node: &Node, what: &str, least: u64, most: u64, problems: &mut Problems) -> Option<u64> {
    let Kind::Number(number) = &node.kind else {
        wrong(node, &format!("{what} must be an integer"), problems);
        return None;
    };
    let value = number.as_u64().filter(|it| (least..=most).contains(it));
    if value.is_none() {
        let range =
            if most < u64::from(u32::MAX) { format!("from {least} to {most}") } else { format!("of at least {least}") };
        let problem = Diagnostic::new(Code::OutOfRange, format!("{what} must be an integer {range}"));
        problems.add(problem.at(node.span, format!("`{number}` is not allowed")));
    }
    value
}

/// Reads a whole number that fits into 32 bits.
pub(super) fn small(node: &Node, what: &str, least: u64, problems: &mut Problems) -> Option<u32> {
    number(node, what, least, u64::from(u32::MAX), problems).and_then(|it| u32::try_from(it).ok())
}

/// Reads a duration, in milliseconds.
pub(super) fn duration(file: &File, node: &Node, what: &str, least: u64, problems: &mut Problems) -> Option<u64> {
    let spelled = match &node.kind {
        Kind::Text(text) => text.clone(),
        Kind::Number(_) => {
            let number = file.slice(node.span);
            let problem = Diagnostic::new(Code::BadDuration, format!("{what} needs a unit"));
            let problem = problem.at(node.span, "no unit");
            problems.add(problem.help(format!("write `{number}s` for seconds, `{number}ms` for milliseconds")));
            return None;
        }
        _ => {
            wrong(node, &format!("{what} must be a duration such as `30s`"), problems);
            return None;
        }
    };
    let read = humantime::parse_duration(&spelled).ok().and_then(|it| u64::try_from(it.as_millis()).ok());
    let longest = 366 * 24 * 3_600_000;
    match read {
        Some(millis) if (least..=longest).contains(&millis) => Some(millis),
        Some(_) => {
            let bounds = if least > 0 { "must be greater than zero and" } else { "must be" };
            let problem = Diagnostic::new(Code::OutOfRange, format!("{what} {bounds} at most a year"));
            problems.add(problem.at(node.span, format!("`{spelled}` is not allowed")));
            None
        }
        None => {
            let problem = Diagnostic::new(Code::BadDuration, format!("{what} is not a valid duration: `{spelled}`"));
            let problem = problem.at(node.span, "invalid duration");
            problems.add(problem.help("durations are written `500ms`, `30s`, `5m` or `1h30m`"));
            None
        }
    }
}

/// Reads one of a few words.
pub(super) fn choice<T: Copy>(
    file: &File,
    node: &Node,
    what: &str,
    choices: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let word = text(file, node, what, problems)?;
    let found = choices.iter().find(|(known, _)| *known == word.text);
    if found.is_none() {
        let all: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
        let problem = Diagnostic::new(Code::UnknownWord, format!("{what} must be one of {}", list(&all)));
        let problem = problem.at(node.span, format!("unknown value `{}`", word.text));
        let near = crate::diagnostic::nearest(&word.text, all.into_iter());
        problems.add(match near {
            Some(near) => problem.did_you_mean(node.span, near),
            None => problem,
        });
    }
    found.map(|(_, value)| *value)
}

/// Reads a value of any type; `None` if it contains an error.
pub(super) fn constant(node: &Node) -> Option<Constant> {
    Some(Constant { value: node.json()?, span: node.place() })
}

/// Returns whether a word is a valid name of a task or a parameter.
pub(super) fn is_name(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|it| it.is_ascii_alphabetic() || it == '_')
        && letters.all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-'))
        && word.len() <= LONGEST
}

/// Describes what a valid name is.
pub(super) fn name_rule() -> String {
    format!(
        "a name starts with a letter or `_`, followed by letters, digits, `_` or `-`, and has at most {LONGEST} \
         characters"
    )
}

/// Returns whether a word is a valid name, and reports it if it is not.
pub(super) fn check_name(word: &Word, of: &str, problems: &mut Problems) -> bool {
    if word.text == ITEM {
        let problem = Diagnostic::new(Code::BadName, format!("{of} cannot be named `{ITEM}`"));
        let problem = problem.at(word.span, "reserved name");
        problems.add(problem.note(format!("`{ITEM}` is the input that `foreach` sets for each instance")));
        return false;
    }
    let is_valid = is_name(&word.text);
    if !is_valid {
        let problem = Diagnostic::new(Code::BadName, format!("{of} cannot be named `{}`", word.text));
        let problem = problem.at(word.span, "invalid name");
        problems.add(problem.note(name_rule()));
    }
    is_valid
}

/// Parses a reference to the output of a task: its name, and names of fields.
pub(super) fn path(file: &File, word: &Word, key: &str, problems: &mut Problems) -> Option<Path> {
    let mut at = word.span.start + file.slice(word.span).find(&word.text).unwrap_or_default();
    let is_plain = file.slice(word.span).contains(&word.text);
    let mut parts = word.text.split('.').map(|part| {
        let span = if is_plain { Span::new(at, at + part.len()) } else { word.span };
        at += part.len() + 1;
        Word { text: part.to_owned(), span }
    });
    let task = parts.next()?;
    let fields: Vec<Word> = parts.collect();
    let is_field = |field: &Word| {
        !field.text.is_empty() && !field.text.contains(|it: char| it.is_whitespace() || "[]".contains(it))
    };
    if is_name(&task.text) && fields.iter().all(is_field) {
        return Some(Path { span: word.span, task, fields });
    }
    let problem =
        Diagnostic::new(Code::BadReference, format!("`{}` does not refer to the output of a task", word.text));
    let problem = problem.at(word.span, "invalid reference");
    let bare: String = word.text.chars().filter(|it| !"${}() ".contains(*it)).collect();
    let help = if bare != word.text && bare.split('.').all(is_name) {
        format!("write it without delimiters: `{key}: {bare}`")
    } else if let Some((list, _)) = word.text.split_once('[') {
        format!("a single item of a list cannot be referenced; `foreach: {list}` creates an instance for each item")
    } else {
        format!("write `{key}: task` or `{key}: task.field`")
    };
    problems.add(problem.help(help));
    None
}
