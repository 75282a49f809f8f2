//! YAML as workflows have it: texts, numbers, lists and mappings, each with its place.
//!
//! What makes YAML surprising is refused: anchors, aliases, merge keys, tags, several documents, keys twice.

mod read;
mod scalar;

pub(crate) use read::read;

use serde_json::{Map, Number, Value};

use crate::file::Span;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
    /// Whether a key of it could not be read, which has been said.
    pub(crate) is_lossy: bool,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// It is wrong, and that has been said.
    Broken,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Word,
    pub(crate) value: Node,
}

/// A text and its place.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Node {
    pub(crate) fn new(span: Span, kind: Kind) -> Self {
        Self { span, kind, is_lossy: false }
    }

    /// What it is, for messages.
    pub(crate) fn is(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
            Kind::Broken => "unreadable",
        }
    }

    /// Its value as JSON; `None` if something in it is wrong.
    pub(crate) fn json(&self) -> Option<Value> {
        if self.is_lossy {
            return None;
        }
        Some(match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(is) => Value::Bool(*is),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(nodes) => Value::Array(nodes.iter().map(Self::json).collect::<Option<_>>()?),
            Kind::Map(entries) => {
                let pairs = entries.iter().map(|it| Some((it.key.text.clone(), it.value.json()?)));
                Value::Object(pairs.collect::<Option<Map<_, _>>>()?)
            }
            Kind::Broken => return None,
        })
    }

    /// A place that fits in a line, to point at.
    pub(crate) fn place(&self) -> Span {
        match &self.kind {
            Kind::Map(entries) => entries.first().map_or(self.span, |it| it.key.span),
            Kind::List(nodes) => nodes.first().map_or(self.span, Self::place),
            _ => self.span,
        }
    }
}
