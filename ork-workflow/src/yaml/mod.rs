//! The YAML of workflow files: strings, numbers, lists and mappings, each with its location.
//!
//! The surprising features of YAML are rejected: anchors, aliases, merge keys, tags, several documents in one file,
//! and duplicate keys.

mod read;
mod scalar;

pub(crate) use read::read;

use serde_json::{Map, Number, Value};

use crate::file::Span;

/// A value and its location.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
    /// Whether one of its keys could not be read, which was reported.
    pub(crate) is_lossy: bool,
}

/// The content of a value.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// The value is invalid, which was reported.
    Broken,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Word,
    pub(crate) value: Node,
}

/// A string and its location.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Node {
    pub(crate) fn new(span: Span, kind: Kind) -> Self {
        Self { span, kind, is_lossy: false }
    }

    /// Describes the type of the value, for messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
            Kind::Broken => "unreadable",
        }
    }

    /// Converts the value to JSON; `None` if a part of it is invalid.
    pub(crate) fn json(&self) -> Option<Value> {
        if self.is_lossy {
            return None;
        }
        Some(match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
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

    /// Returns a short range to point at: for a list or a mapping, its first entry.
    pub(crate) fn place(&self) -> Span {
        match &self.kind {
            Kind::Map(entries) => entries.first().map_or(self.span, |it| it.key.span),
            Kind::List(nodes) => nodes.first().map_or(self.span, Self::place),
            _ => self.span,
        }
    }
}
