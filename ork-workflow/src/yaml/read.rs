//! Parses YAML: builds values from the events of the parser, and enforces the limits.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as Marks, Tag};

use super::{Entry, Kind, Node, Word, scalar};
use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::file::{File, Span};

/// The maximum size of a workflow file, in bytes.
const LONGEST: usize = 1 << 20;
/// The maximum nesting depth of lists and mappings.
const DEEPEST: usize = 64;

/// Parses a text. Returns `None` if there is nothing to check; the reason was reported.
pub(crate) fn read(file: &File, problems: &mut Problems) -> Option<Node> {
    let text = file.text();
    if let Some(problem) = unreadable_text(file) {
        problems.add(problem);
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { file, problems, bytes: bytes(text, file.text().len() - text.len()), open: Vec::new(), root: None };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, marks) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.not_yaml(&error);
                return None;
            }
        };
        builder.process(event, marks)?;
    }
    let root = builder.root;
    if root.as_ref().is_none_or(|root| matches!(root.kind, Kind::Null)) {
        let empty = Diagnostic::new(Code::Empty, "there is no workflow in this file");
        problems.add(empty.help("a workflow has `tasks:` with a key for each task"));
        return None;
    }
    root
}

/// Returns the problem of a text that is too long, not UTF-8, or contains a NUL character.
fn unreadable_text(file: &File) -> Option<Diagnostic> {
    let text = file.text();
    if text.len() > LONGEST {
        let message = format!("the file has {} bytes, at most {LONGEST} are allowed", text.len());
        return Some(Diagnostic::new(Code::TooLong, message));
    }
    if let Some(at) = file.broken() {
        let place = Span::new(at, at + 1);
        return Some(Diagnostic::new(Code::NotText, "the file is not UTF-8").at(place, "invalid from here on"));
    }
    let at = text.find('\0')?;
    Some(Diagnostic::new(Code::NotText, "the file contains a NUL byte").at(Span::new(at, at), "here"))
}

/// Returns the byte offset of each character and of the end.
fn bytes(text: &str, first: usize) -> Vec<usize> {
    text.char_indices().map(|(at, _)| first + at).chain([first + text.len()]).collect()
}

/// The help for users who try to write template expressions, as in other systems.
const NO_TEMPLATES: &str = "workflows have no templates: a task receives the outputs of the tasks that it depends on, \
                            and a parameter is passed to each task with an input of its name";

/// A list or a mapping that is not closed yet.
struct Open {
    span: Span,
    what: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<String, Span>, next: Next, is_lossy: bool },
}

/// The next expected element of a mapping.
enum Next {
    Key,
    Value(Word),
    /// The value of an invalid key, which is discarded.
    Nothing,
}

struct Builder<'a> {
    file: &'a File,
    problems: &'a mut Problems,
    bytes: Vec<usize>,
    open: Vec<Open>,
    root: Option<Node>,
}

impl Builder<'_> {
    fn byte(&self, index: usize) -> usize {
        self.bytes.get(index).or(self.bytes.last()).copied().unwrap_or_default()
    }

    fn span(&self, marks: Marks) -> Span {
        let start = self.byte(marks.start.index());
        Span::new(start, self.byte(marks.end.index()).max(start))
    }

    /// Processes an event. `None` means that parsing cannot continue.
    fn process(&mut self, event: Event<'_>, marks: Marks) -> Option<()> {
        let span = self.span(marks);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                let several = Diagnostic::new(Code::SeveralDocuments, "the file contains several documents");
                let several = several.at(span, "the second starts here");
                self.problems.add(several.help("put each workflow in a separate file"));
                return None;
            }
            Event::Alias(_) => {
                self.problems.add(alias(span));
                self.put(Node::new(span, Kind::Broken), false);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let wrong = self.reject_anchor_or_tag(span, anchor, tag.as_deref());
                let is_plain = style == ScalarStyle::Plain;
                let kind = if wrong { Kind::Broken } else { self.scalar(&text, is_plain, span) };
                self.put(Node::new(span, kind), is_plain);
            }
            Event::SequenceStart(anchor, tag) => {
                self.reject_anchor_or_tag(span, anchor, tag.as_deref());
                self.begin(span, Inside::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.reject_anchor_or_tag(span, anchor, tag.as_deref());
                self.begin(
                    span,
                    Inside::Map { entries: Vec::new(), seen: HashMap::new(), next: Next::Key, is_lossy: false },
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            _ => {}
        }
        Some(())
    }

    fn begin(&mut self, span: Span, what: Inside) -> Option<()> {
        if self.open.len() >= DEEPEST {
            let message = format!("lists and mappings are nested more than {DEEPEST} levels deep");
            self.problems.add(Diagnostic::new(Code::TooDeep, message).at(span, "nested too deeply"));
            return None;
        }
        self.open.push(Open { span, what });
        Some(())
    }

    fn close(&mut self, end: Span) {
        let Some(open) = self.open.pop() else { return };
        let is_lossy = matches!(open.what, Inside::Map { is_lossy: true, .. });
        let (last, kind) = match open.what {
            Inside::List(nodes) => (nodes.last().map(|it| it.span), Kind::List(nodes)),
            Inside::Map { entries, .. } => (entries.last().map(|it| it.value.span), Kind::Map(entries)),
        };
        // A value in brackets has an explicit end; a value in block style ends with its last entry.
        let span = if end.end > end.start { open.span.to(end) } else { open.span.to(last.unwrap_or(open.span)) };
        self.put(Node { span, kind, is_lossy }, false);
    }

    /// Stores a value where it belongs: as an item, as a key, as the value of a key, or as the root.
    fn put(&mut self, node: Node, is_plain: bool) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.what {
            Inside::List(nodes) => nodes.push(node),
            Inside::Map { entries, seen, next, is_lossy } => match std::mem::replace(next, Next::Key) {
                Next::Key => *next = name(self.file, node, is_plain, self.problems).map_or(Next::Nothing, Next::Value),
                Next::Nothing => *is_lossy = true,
                Next::Value(word) => {
                    if let Some(first) = seen.get(&word.text) {
                        self.problems.add(duplicate_key(&word, *first));
                        return;
                    }
                    seen.insert(word.text.clone(), word.span);
                    entries.push(Entry { key: word, value: node });
                }
            },
        }
    }

    /// Reports an anchor or a tag of a value. Returns whether there is one.
    fn reject_anchor_or_tag(&mut self, span: Span, anchor: usize, tag: Option<&Tag>) -> bool {
        if anchor > 0 {
            let anchor = Diagnostic::new(Code::Anchor, "workflows do not support anchors");
            let anchor = anchor.at(self.first_line(span), "this has an anchor (`&`)");
            self.problems
                .add(anchor.help("repeat the value wherever it is needed; quote a string that starts with `&`"));
        }
        if tag.is_some() {
            let tag = self.file.slice(span).split_whitespace().next().unwrap_or_default();
            let message = format!("workflows do not support tags such as `{tag}`");
            let problem = Diagnostic::new(Code::Tag, message).at(self.first_line(span), "this has a tag (`!`)");
            self.problems.add(problem.help("remove the tag; quote a value to make it a string"));
        }
        anchor > 0 || tag.is_some()
    }

    /// Returns the part of a range that is in its first line.
    fn first_line(&self, span: Span) -> Span {
        let line = self.file.slice(span).lines().next().unwrap_or_default().trim_end();
        Span::new(span.start, span.start + line.len())
    }

    fn scalar(&mut self, text: &str, is_plain: bool, span: Span) -> Kind {
        if !is_plain {
            return Kind::Text(text.to_owned());
        }
        scalar::plain(text).unwrap_or_else(|| {
            let problem =
                Diagnostic::new(Code::NoSuchNumber, format!("`{text}` cannot be represented as a JSON number"));
            let problem = problem.at(span, "too large, too precise, or not a number");
            self.problems.add(problem.help(format!("for a string, quote it: \"{text}\"")));
            Kind::Broken
        })
    }

    fn not_yaml(&mut self, error: &ScanError) {
        let at = self.byte(error.marker().index());
        let line = line_of(self.file.text(), at);
        let bare = line.trim_start();
        if error.info().contains("unknown anchor") || bare.starts_with("schedule: *") || bare.starts_with("cron: *") {
            let at = line.find('*').map_or(at, |star| start_of(self.file.text(), at) + star);
            self.problems.add(alias(Span::new(at, at + 1)));
            return;
        }
        let mut problem =
            Diagnostic::new(Code::NotYaml, "invalid YAML").at(Span::new(at, at), in_own_terms(error.info()));
        if line.starts_with('\t') || line.trim_start_matches(' ').starts_with('\t') {
            problem = problem.help("indent with spaces; YAML does not allow tabs there");
        } else if line.contains("{{") {
            problem = problem.help(NO_TEMPLATES);
        } else if bare.matches(": ").count() > 1 {
            problem = problem.help("a string that contains `: ` must be quoted");
        } else if bare.contains(['\'', '"']) {
            problem = problem.help("a quoted string must end with the same quote");
        } else {
            problem =
                problem.help("check the indentation, the brackets and the quotes of this line and of the one before");
        }
        self.problems.add(problem);
    }
}

/// Translates a message of the parser into the terms of this language, where the message is known.
fn in_own_terms(info: &str) -> &str {
    const MESSAGES: &[(&str, &str)] = &[
        ("tabs disallowed", "a tab"),
        ("indentation in quoted scalar", "unterminated or insufficiently indented string"),
        ("mapping values are not allowed", "a key is not allowed here"),
        ("did not find expected key", "expected a key with the same indentation as the keys before it"),
        ("did not find expected '-'", "expected an item with the same indentation as the items before it"),
        ("illegal placement of ':'", "`:` is not allowed here"),
        ("did not find expected ',' or ']'", "expected `,` or `]`"),
        ("did not find expected ',' or '}'", "expected `,` or `}`"),
        ("unexpected end of", "unexpected end"),
    ];
    MESSAGES.iter().find(|(part, _)| info.contains(part)).map_or(info, |(_, message)| *message)
}

/// Returns the text of a key; `None` if the value cannot be a key, which is then reported.
fn name(file: &File, node: Node, is_plain: bool, problems: &mut Problems) -> Option<Word> {
    let span = node.span;
    match node.kind {
        Kind::Text(text) if is_plain && text == "<<" => {
            let merge =
                Diagnostic::new(Code::Anchor, "workflows do not support merge keys").at(span, "`<<` is a merge key");
            problems.add(merge.help("repeat the keys wherever they are needed"));
            None
        }
        Kind::Text(text) => Some(Word { text, span }),
        Kind::Broken => None,
        Kind::Null | Kind::Bool(_) | Kind::Number(_) => {
            let text = file.slice(span);
            let problem = Diagnostic::new(Code::KeyNotText, format!("the key is {}, not a string", node.type_name()));
            let problem = problem.at(span, "keys must be strings");
            problems.add(if text.is_empty() { problem } else { problem.help(format!("quote it: \"{text}\"")) });
            None
        }
        Kind::List(_) | Kind::Map(_) => {
            let message = format!("the key is {}, not a string", node.type_name());
            let problem = Diagnostic::new(Code::KeyNotText, message).at(span, "keys must be strings");
            let is_template = matches!(node.kind, Kind::Map(_)) && file.slice(span).starts_with('{');
            problems.add(if is_template { problem.help(NO_TEMPLATES) } else { problem });
            None
        }
    }
}

fn duplicate_key(word: &Word, first: Span) -> Diagnostic {
    let problem = Diagnostic::new(Code::DuplicateKey, format!("`{}` occurs twice", word.text));
    problem.at(word.span, "the second").and(first, "the first").help("rename or remove one of them")
}

fn alias(span: Span) -> Diagnostic {
    let problem =
        Diagnostic::new(Code::Anchor, "workflows do not support aliases").at(span, "`*` starts an alias in YAML");
    problem.help("quote a string that starts with `*`, such as a cron schedule: \"*/5 * * * *\"")
}

fn start_of(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1)
}

fn line_of(text: &str, at: usize) -> &str {
    text.get(start_of(text, at)..).and_then(|rest| rest.lines().next()).unwrap_or_default()
}
