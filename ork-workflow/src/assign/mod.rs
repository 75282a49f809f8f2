//! Whether every value of one type is a value of another one, by their JSON Schemas.
//!
//! The answer `Yes` is a promise: each value that is valid for the first schema is valid for the second. `No` says that
//! a value of the first exists that is none of the second, and where. Whatever cannot be decided is `Unknown`: patterns
//! and formats that differ, `not`, `if`, bounds that a value may or may not keep to. Nobody is bothered with it.

mod alternatives;
mod arrays;
mod objects;
mod scalars;

pub(crate) use alternatives::{Alternative, Is, expand, resolve};

use serde_json::{Map, Value};

use crate::notation;

/// A JSON Schema, and the document that its references are looked up in.
#[derive(Debug, Clone, Copy)]
pub struct Type<'a> {
    /// The schema.
    pub schema: &'a Value,
    /// The document it is part of; often the schema itself.
    pub root: &'a Value,
}

/// Whether the values of a type are values of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All of them are.
    Yes,
    /// Not all of them.
    No(Vec<Why>),
    /// That cannot be said, and why not.
    Unknown(String),
}

/// Why values do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Where in the value: empty for all of it, `.field` for a field, `[]` for the items of a list.
    pub path: String,
    /// What is so there and should be otherwise.
    pub text: String,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.trim_start_matches('.') {
            "" => write!(f, "{}", self.text),
            path => write!(f, "at `{path}`: {}", self.text),
        }
    }
}

/// Whether every value of one type is a value of another one.
pub fn assignable(from: Type<'_>, to: Type<'_>) -> Verdict {
    let mut judge = Judge { from: from.root, to: to.root, assumed: Vec::new(), depth: 0, steps: 0 };
    match judge.whole(from.schema, to.schema, "") {
        Fit::Yes => Verdict::Yes,
        Fit::No { whys, .. } => Verdict::No(whys),
        Fit::Unknown(why) => Verdict::Unknown(why),
    }
}

/// A verdict on the way.
#[derive(Debug, Clone)]
enum Fit {
    Yes,
    No {
        whys: Vec<Why>,
        /// How many of the values do not fit, which matters where there is a choice.
        misses: Misses,
        /// It is of another kind altogether, such as a text for a list.
        alien: bool,
    },
    Unknown(String),
}

/// How many values do not fit. Schemas that each miss most values miss some together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Misses {
    Some,
    /// All but a few out of infinitely many.
    Most,
    All,
}

impl Fit {
    fn new(path: &str, text: impl Into<String>, misses: Misses) -> Self {
        Self::No { whys: vec![Why { path: path.to_owned(), text: text.into() }], misses, alien: false }
    }

    fn no(path: &str, text: impl Into<String>) -> Self {
        Self::new(path, text, Misses::Some)
    }

    fn never(path: &str, text: impl Into<String>) -> Self {
        Self::new(path, text, Misses::All)
    }

    fn unknown(why: &str) -> Self {
        Self::Unknown(why.to_owned())
    }

    /// Where values without the part in question exist, some of them fit.
    fn sometimes(self) -> Self {
        match self {
            Self::No { whys, alien, .. } => Self::No { whys, misses: Misses::Some, alien },
            other => other,
        }
    }

    /// Both must hold.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No { whys: mut all, misses: a, alien: c }, Self::No { whys, misses: b, alien: d }) => {
                all.extend(whys);
                Self::No { whys: all, misses: a.max(b), alien: c || d }
            }
            (no @ Self::No { .. }, _) | (_, no @ Self::No { .. }) => no,
            (unknown @ Self::Unknown(_), _) | (_, unknown @ Self::Unknown(_)) => unknown,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

/// Nothing is looked at deeper, and no question takes more steps: schemas come from outside.
const DEEPEST: u32 = 48;
const MOST_STEPS: u32 = 20_000;

struct Judge<'a> {
    from: &'a Value,
    to: &'a Value,
    /// Pairs that are being judged further up: a recursive type fits if nothing else speaks against it.
    assumed: Vec<(String, String)>,
    depth: u32,
    steps: u32,
}

impl Judge<'_> {
    /// Whether all of a schema's alternatives fit.
    fn whole(&mut self, from: &Value, to: &Value, path: &str) -> Fit {
        if is_anything(to) {
            return Fit::Yes;
        }
        self.steps += 1;
        if self.steps > MOST_STEPS || self.depth >= DEEPEST {
            return Fit::unknown("the types are too large to compare");
        }
        let Some(alternatives) = expand(from, self.from) else {
            return Fit::unknown("the first type is too large to compare");
        };
        self.depth += 1;
        let (mut fit, mut least) = (Fit::Yes, Misses::All);
        for alternative in &alternatives {
            let one = match self.one(alternative, to, path) {
                Fit::No { .. } if alternative.is_wider => {
                    Fit::unknown("the first type has rules that are not compared")
                }
                one => one,
            };
            least = least.min(match one {
                Fit::No { misses, .. } => misses,
                Fit::Yes | Fit::Unknown(_) => Misses::Some,
            });
            fit = fit.and(one);
        }
        self.depth -= 1;
        match fit {
            Fit::No { whys, .. } => Fit::No { whys, misses: least, alien: false },
            other => other,
        }
    }

    /// Whether one alternative fits a schema: everything the schema demands must hold.
    fn one(&mut self, from: &Alternative, to: &Value, path: &str) -> Fit {
        let keys = match to {
            Value::Bool(true) => return Fit::Yes,
            Value::Bool(false) => return Fit::never(path, "nothing is accepted here"),
            Value::Object(keys) => keys,
            _ => return Fit::unknown("the second type is not a schema"),
        };
        self.steps += 1;
        if self.steps > MOST_STEPS || self.depth >= DEEPEST {
            return Fit::unknown("the types are too large to compare");
        }
        self.depth += 1;
        let mut fit = self.demands(from, keys, path);
        if let Some(reference) = keys.get("$ref") {
            fit = fit.and(self.reference(from, reference, path));
        }
        for part in parts(keys, "allOf") {
            fit = fit.and(self.one(from, part, path));
        }
        for (key, only_one) in [("anyOf", false), ("oneOf", true)] {
            if let Some(Value::Array(branches)) = keys.get(key) {
                fit = fit.and(self.some(from, branches, only_one, to, path));
            }
        }
        self.depth -= 1;
        fit
    }

    fn reference(&mut self, from: &Alternative, reference: &Value, path: &str) -> Fit {
        let name = reference.as_str().unwrap_or_default();
        let Some(target) = resolve(name, self.to) else {
            return Fit::unknown("a reference of the second type leads nowhere");
        };
        let pair = (from.key(), name.to_owned());
        if self.assumed.contains(&pair) {
            return Fit::Yes;
        }
        self.assumed.push(pair);
        let fit = self.one(from, target, path);
        self.assumed.pop();
        fit
    }

    /// Whether it fits one of several schemas.
    fn some(&mut self, from: &Alternative, branches: &[Value], only_one: bool, to: &Value, path: &str) -> Fit {
        let fits: Vec<Fit> = branches.iter().map(|branch| self.one(from, branch, path)).collect();
        let yes = fits.iter().filter(|it| matches!(it, Fit::Yes)).count();
        let never = fits.iter().filter(|it| matches!(it, Fit::No { misses: Misses::All, .. })).count();
        if yes > 0 {
            let clear = !only_one || (yes == 1 && never + 1 == fits.len());
            return if clear { Fit::Yes } else { Fit::unknown("several alternatives of `oneOf` may fit") };
        }
        if fits.iter().any(|it| matches!(it, Fit::Unknown(_))) {
            return Fit::unknown("whether one of the alternatives fits cannot be said");
        }
        let (near, far): (Vec<Fit>, Vec<Fit>) =
            fits.into_iter().partition(|it| matches!(it, Fit::No { misses: Misses::Some, .. }));
        match near.len() {
            0 => self.none(from, far, to, path),
            1 => near.into_iter().next().unwrap_or(Fit::Yes),
            // Some values fit one of them, some another one: together that may be all.
            _ => Fit::unknown("each value may fit another alternative"),
        }
    }

    /// Says that none of several schemas fits, or, if one of them is the nearest, why that one does not.
    fn none(&self, from: &Alternative, fits: Vec<Fit>, to: &Value, path: &str) -> Fit {
        let mut near: Vec<Vec<Why>> = Vec::new();
        let mut least_misses = Misses::All;
        for fit in fits {
            let Fit::No { whys, misses, alien } = fit else { continue };
            least_misses = least_misses.min(misses);
            if !alien {
                near.push(whys);
            }
        }
        let least = near.iter().map(Vec::len).min().unwrap_or_default();
        near.retain(|whys| whys.len() == least);
        let text = format!("{} is none of {}", from.show(self.from), notation::show(to, self.to));
        let alien = near.is_empty();
        let whys = match near.pop() {
            Some(whys) if near.is_empty() => whys,
            _ => vec![Why { path: path.to_owned(), text }],
        };
        Fit::No { whys, misses: least_misses, alien }
    }

    /// What the schema demands by itself: its type, its values, and what each type has.
    fn demands(&mut self, from: &Alternative, to: &Map<String, Value>, path: &str) -> Fit {
        let mut fit = self.kind(from, to, path).and(self.values(from, to, path));
        if matches!(fit, Fit::No { .. }) {
            return fit;
        }
        let own: &[&str] = match from.is {
            Is::Null | Is::Boolean => &[],
            Is::Integer | Is::Number => {
                fit = fit.and(scalars::number(from, to, path));
                &[]
            }
            Is::Text => {
                fit = fit.and(scalars::text(from, to, path));
                &["contentMediaType"]
            }
            Is::List => {
                fit = fit.and(self.list(from, to, path));
                &["contains", "unevaluatedItems"]
            }
            Is::Object => {
                fit = fit.and(self.object(from, to, path));
                OBJECT_RULES
            }
            Is::Anything if is_plain(to) => &[],
            Is::Anything => return fit.and(Fit::unknown("the first type may be anything")),
        };
        match ANY_RULES.iter().chain(own).find(|key| to.contains_key(**key)) {
            Some(key) => fit.and(Fit::Unknown(format!("`{key}` is not compared"))),
            None => fit,
        }
    }

    fn kind(&self, from: &Alternative, to: &Map<String, Value>, path: &str) -> Fit {
        let types: Vec<&str> = match to.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => return Fit::Yes,
        };
        if from.is == Is::Anything {
            return Fit::unknown("the first type may be anything");
        }
        let fits = types.contains(&from.is.word()) || (from.is == Is::Integer && types.contains(&"number"));
        let expected = notation::show(&Value::Object(to.clone()), self.to);
        match from.is {
            _ if fits => Fit::Yes,
            Is::Number if types.contains(&"integer") && from.value.is_none() => {
                Fit::no(path, format!("number where {expected} is expected"))
            }
            _ => {
                let text = format!("{} where {expected} is expected", from.show(self.from));
                Fit::No { whys: vec![Why { path: path.to_owned(), text }], misses: Misses::All, alien: true }
            }
        }
    }

    /// `const` and `enum`.
    fn values(&self, from: &Alternative, to: &Map<String, Value>, path: &str) -> Fit {
        let one = to.get("const").map(std::slice::from_ref);
        let few = to.get("enum").and_then(Value::as_array).map(Vec::as_slice);
        let mut fit = Fit::Yes;
        for accepted in one.into_iter().chain(few) {
            let expected = || accepted.iter().map(notation::literal).collect::<Vec<_>>().join(" | ");
            fit = fit.and(match &from.value {
                Some(value) if accepted.iter().any(|it| scalars::same(it, value)) => Fit::Yes,
                None if from.is == Is::Null && accepted.contains(&Value::Null) => Fit::Yes,
                None if from.could_be_few() => Fit::unknown("the first type may have few values"),
                None if from.is != Is::Null => {
                    let text = format!("any {} where {} is expected", from.show(self.from), expected());
                    Fit::new(path, text, Misses::Most)
                }
                _ => Fit::never(path, format!("{} where {} is expected", from.show(self.from), expected())),
            });
        }
        fit
    }
}

/// Rules that are not compared, whatever the value is.
const ANY_RULES: &[&str] = &["not", "if", "$dynamicRef", "$recursiveRef"];

/// Rules of objects that are not compared.
const OBJECT_RULES: &[&str] = &[
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "maxProperties",
    "minProperties",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
];

/// The list of schemas under a key.
fn parts<'a>(keys: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    keys.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a schema accepts everything by itself.
fn is_anything(schema: &Value) -> bool {
    match schema {
        Value::Bool(is) => *is,
        Value::Object(keys) => {
            is_plain(keys) && !["$ref", "allOf", "anyOf", "oneOf"].iter().any(|key| keys.contains_key(*key))
        }
        _ => false,
    }
}

/// Words that demand nothing.
const NOTES: &[&str] = &[
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
];

/// Whether the words of a schema itself demand nothing.
fn is_plain(keys: &Map<String, Value>) -> bool {
    keys.keys().all(|key| NOTES.contains(&key.as_str()) || key.starts_with("x-"))
}
