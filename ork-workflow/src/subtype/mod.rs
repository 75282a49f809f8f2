//! Decides from two JSON Schemas whether every value of one type is also a value of the other.
//!
//! `Yes` is a guarantee: each value that is valid for the first schema is valid for the second. `No` means that a
//! value exists which is valid for the first schema but not for the second, and reports where the two differ.
//! Everything that cannot be decided is `Unknown`: different patterns and formats, `not`, `if`, and bounds that a value
//! may or may not satisfy. `Unknown` is not reported to users.

mod alternatives;
mod arrays;
mod objects;
mod scalars;

pub(crate) use alternatives::{Alternative, ValueType, expand};

use serde_json::{Map, Value};

use crate::notation;
use crate::schema::{is_anything, is_plain, parts, resolve, same};

/// A JSON Schema, together with the document in which its references are resolved.
#[derive(Debug, Clone, Copy)]
pub struct Type<'a> {
    /// The schema.
    pub schema: &'a Value,
    /// The document that contains the schema; often the schema itself.
    pub root: &'a Value,
}

/// The result of comparing two types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every value of the first type is a value of the second.
    Yes,
    /// At least one value is not, for these reasons.
    No(Vec<Mismatch>),
    /// The comparison is not decidable here, for this reason.
    Unknown(String),
}

/// A reason why values of one type do not fit another type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The location inside the value: empty for the whole value, `.field` for a field, `[]` for the items of a list.
    pub path: String,
    /// A description of the type at this location, and of the expected type.
    pub text: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.trim_start_matches('.') {
            "" => write!(f, "{}", self.text),
            path => write!(f, "at `{path}`: {}", self.text),
        }
    }
}

/// Returns whether every value of one type is also a value of another type.
pub fn is_subtype(from: Type<'_>, to: Type<'_>) -> Verdict {
    let mut comparison = Comparison { from: from.root, to: to.root, assumed: Vec::new(), depth: 0, steps: 0 };
    match comparison.all_fit(from.schema, to.schema, "") {
        Fit::Yes => Verdict::Yes,
        Fit::No { mismatches, .. } => Verdict::No(mismatches),
        Fit::Unknown(why) => Verdict::Unknown(why),
    }
}

/// An intermediate verdict.
#[derive(Debug, Clone)]
enum Fit {
    Yes,
    No {
        mismatches: Vec<Mismatch>,
        /// The share of the values that do not fit. This matters for unions, where one alternative may accept what
        /// another one does not.
        misses: Misses,
        /// Whether the value is of a different type altogether, for example a string where a list is expected.
        is_other_type: bool,
    },
    Unknown(String),
}

/// The share of the values of a type that do not fit. If each alternative of a union rejects at least most values, some
/// value is rejected by all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Misses {
    Some,
    /// All values except for finitely many out of infinitely many.
    Most,
    All,
}

impl Fit {
    fn new(path: &str, text: impl Into<String>, misses: Misses) -> Self {
        Self::No {
            mismatches: vec![Mismatch { path: path.to_owned(), text: text.into() }],
            misses,
            is_other_type: false,
        }
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

    /// Weakens the verdict for a part that values can also lack: the values without that part may fit.
    fn sometimes(self) -> Self {
        match self {
            Self::No { mismatches, is_other_type, .. } => Self::No { mismatches, misses: Misses::Some, is_other_type },
            other => other,
        }
    }

    /// Combines two conditions that must both hold.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::No { mismatches: mut all, misses: a, is_other_type: c },
                Self::No { mismatches, misses: b, is_other_type: d },
            ) => {
                all.extend(mismatches);
                Self::No { mismatches: all, misses: a.max(b), is_other_type: c || d }
            }
            (no @ Self::No { .. }, _) | (_, no @ Self::No { .. }) => no,
            (unknown @ Self::Unknown(_), _) | (_, unknown @ Self::Unknown(_)) => unknown,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

/// The maximum depth of a comparison; [`MOST_STEPS`] limits the number of its steps. Schemas are untrusted input.
const DEEPEST: u32 = 48;
const MOST_STEPS: u32 = 20_000;

struct Comparison<'a> {
    from: &'a Value,
    to: &'a Value,
    /// The pairs of types whose comparison is in progress. Within that comparison a pair is assumed to fit, which is
    /// the right answer for recursive types unless another part contradicts it.
    assumed: Vec<(String, String)>,
    depth: u32,
    steps: u32,
}

impl Comparison<'_> {
    /// Checks that all alternatives of a schema fit.
    fn all_fit(&mut self, from: &Value, to: &Value, path: &str) -> Fit {
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
            Fit::No { mismatches, .. } => Fit::No { mismatches, misses: least, is_other_type: false },
            other => other,
        }
    }

    /// Checks that one alternative satisfies all keywords of a schema.
    fn one(&mut self, from: &Alternative, to: &Value, path: &str) -> Fit {
        let keys = match to {
            Value::Bool(true) => return Fit::Yes,
            Value::Bool(false) => return Fit::never(path, "no value is accepted here"),
            Value::Object(keys) => keys,
            _ => return Fit::unknown("the second type is not a schema"),
        };
        self.steps += 1;
        if self.steps > MOST_STEPS || self.depth >= DEEPEST {
            return Fit::unknown("the types are too large to compare");
        }
        self.depth += 1;
        let mut fit = self.own_keywords(from, keys, path);
        if let Some(reference) = keys.get("$ref") {
            fit = fit.and(self.reference(from, reference, path));
        }
        for part in parts(keys, "allOf") {
            fit = fit.and(self.one(from, part, path));
        }
        for (key, only_one) in [("anyOf", false), ("oneOf", true)] {
            if let Some(Value::Array(branches)) = keys.get(key) {
                fit = fit.and(self.any_branch_fits(from, branches, only_one, to, path));
            }
        }
        self.depth -= 1;
        fit
    }

    fn reference(&mut self, from: &Alternative, reference: &Value, path: &str) -> Fit {
        let name = reference.as_str().unwrap_or_default();
        let Some(target) = resolve(name, self.to) else {
            return Fit::unknown("a reference of the second type cannot be resolved");
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

    /// Checks that an alternative fits one of several schemas.
    fn any_branch_fits(
        &mut self,
        from: &Alternative,
        branches: &[Value],
        only_one: bool,
        to: &Value,
        path: &str,
    ) -> Fit {
        let fits: Vec<Fit> = branches.iter().map(|branch| self.one(from, branch, path)).collect();
        let yes = fits.iter().filter(|it| matches!(it, Fit::Yes)).count();
        let never = fits.iter().filter(|it| matches!(it, Fit::No { misses: Misses::All, .. })).count();
        if yes > 0 {
            let clear = !only_one || (yes == 1 && never + 1 == fits.len());
            return if clear { Fit::Yes } else { Fit::unknown("several alternatives of `oneOf` may match") };
        }
        if fits.iter().any(|it| matches!(it, Fit::Unknown(_))) {
            return Fit::unknown("it is unknown whether one of the alternatives matches");
        }
        let (near, far): (Vec<Fit>, Vec<Fit>) =
            fits.into_iter().partition(|it| matches!(it, Fit::No { misses: Misses::Some, .. }));
        match near.len() {
            0 => self.no_branch_fits(from, far, to, path),
            1 => near.into_iter().next().unwrap_or(Fit::Yes),
            // Some values may fit one schema and the others another one, so that together all values fit.
            _ => Fit::unknown("each value may match a different alternative"),
        }
    }

    /// Returns the verdict that no schema fits. If exactly one schema comes closest, the reasons are those of that
    /// schema.
    fn no_branch_fits(&self, from: &Alternative, fits: Vec<Fit>, to: &Value, path: &str) -> Fit {
        let mut near: Vec<Vec<Mismatch>> = Vec::new();
        let mut least_misses = Misses::All;
        for fit in fits {
            let Fit::No { mismatches, misses, is_other_type } = fit else { continue };
            least_misses = least_misses.min(misses);
            if !is_other_type {
                near.push(mismatches);
            }
        }
        let least = near.iter().map(Vec::len).min().unwrap_or_default();
        near.retain(|mismatches| mismatches.len() == least);
        let text = format!("{} is none of {}", from.show(self.from), notation::show(to, self.to));
        let is_other_type = near.is_empty();
        let mismatches = match near.pop() {
            Some(mismatches) if near.is_empty() => mismatches,
            _ => vec![Mismatch { path: path.to_owned(), text }],
        };
        Fit::No { mismatches, misses: least_misses, is_other_type }
    }

    /// Checks the keywords of the schema itself: its type, its values, and the rules for each type.
    fn own_keywords(&mut self, from: &Alternative, to: &Map<String, Value>, path: &str) -> Fit {
        let mut fit = self.kind(from, to, path).and(self.values(from, to, path));
        if matches!(fit, Fit::No { .. }) {
            return fit;
        }
        let own: &[&str] = match from.value_type {
            ValueType::Null | ValueType::Boolean => &[],
            ValueType::Integer | ValueType::Number => {
                fit = fit.and(scalars::number(from, to, path));
                &[]
            }
            ValueType::Text => {
                fit = fit.and(scalars::text(from, to, path));
                &["contentMediaType"]
            }
            ValueType::List => {
                fit = fit.and(self.list(from, to, path));
                &["contains", "unevaluatedItems"]
            }
            ValueType::Object => {
                fit = fit.and(self.object(from, to, path));
                OBJECT_RULES
            }
            ValueType::Anything if is_plain(to) => &[],
            ValueType::Anything => return fit.and(Fit::unknown("the first type may be anything")),
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
        if from.value_type == ValueType::Anything {
            return Fit::unknown("the first type may be anything");
        }
        let fits = types.contains(&from.value_type.word())
            || (from.value_type == ValueType::Integer && types.contains(&"number"));
        let expected = notation::show(&Value::Object(to.clone()), self.to);
        match from.value_type {
            _ if fits => Fit::Yes,
            ValueType::Number if types.contains(&"integer") && from.value.is_none() => {
                Fit::no(path, format!("number where {expected} is expected"))
            }
            _ => {
                let text = format!("{} where {expected} is expected", from.show(self.from));
                Fit::No {
                    mismatches: vec![Mismatch { path: path.to_owned(), text }],
                    misses: Misses::All,
                    is_other_type: true,
                }
            }
        }
    }

    /// Checks `const` and `enum`.
    fn values(&self, from: &Alternative, to: &Map<String, Value>, path: &str) -> Fit {
        let one = to.get("const").map(std::slice::from_ref);
        let few = to.get("enum").and_then(Value::as_array).map(Vec::as_slice);
        let mut fit = Fit::Yes;
        for accepted in one.into_iter().chain(few) {
            let expected = || accepted.iter().map(notation::literal).collect::<Vec<_>>().join(" | ");
            fit = fit.and(match &from.value {
                Some(value) if accepted.iter().any(|it| same(it, value)) => Fit::Yes,
                None if from.value_type == ValueType::Null && accepted.contains(&Value::Null) => Fit::Yes,
                None if from.may_have_few_values() => Fit::unknown("the first type may have only a few values"),
                None if from.value_type != ValueType::Null => {
                    let text = format!("any {} where {} is expected", from.show(self.from), expected());
                    Fit::new(path, text, Misses::Most)
                }
                _ => Fit::never(path, format!("{} where {} is expected", from.show(self.from), expected())),
            });
        }
        fit
    }
}

/// Keywords that are not compared, for values of any type.
const ANY_RULES: &[&str] = &["not", "if", "$dynamicRef", "$recursiveRef"];

/// Keywords of objects that are not compared.
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
