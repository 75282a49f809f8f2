//! Hooks: the messages that are sent when a job has ended, and the set of parts to which a job belongs. Pure code.
//!
//! Hooks come from any client that can publish. Everything in them is therefore bounded, and what exceeds a bound is
//! rejected with a message.

mod stored;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::body::Limits;
pub use stored::StoredHooks;

/// The maximum number of `on_complete` hooks of a message.
pub const MOST_HOOKS: usize = 32;

/// The maximum size of the hooks of a message as text. An AMQP frame has twice this size.
pub const MOST_BYTES: usize = 64 * 1024;

/// The maximum length of a name in AMQP, in bytes.
pub const LONGEST_NAME: usize = 255;

/// The maximum number of parts of a set.
pub const MOST_PARTS: u64 = crate::ledger::MOST_PARTS;

/// The only `type` that a hook can have.
const SEND: &str = "sendmessage";

/// The outcome of the job on which a hook depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// The hook runs in any case.
    #[default]
    Always,
    /// The hook runs only if the job succeeded.
    Success,
    /// The hook runs only if the job did not succeed.
    Failure,
}

impl When {
    /// Whether the hook runs for a job with this outcome.
    pub const fn holds(self, success: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Success => success,
            Self::Failure => !success,
        }
    }
}

/// A message to be sent when the job has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnComplete {
    /// The routing key, which usually is the name of a task.
    pub route: String,
    /// The name of the task, if it differs from the routing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The input as JSON. If it is `None`, the input is an object with the id, the task and the input of the job.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "raw")]
    pub inputs: Option<String>,
    /// The outcome of the job on which the hook depends.
    #[serde(skip_serializing_if = "is_always")]
    pub when: When,
}

/// The membership of a message in a set of parts. Once the last part of the set has ended, the hooks run once for the
/// set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHook {
    /// The label of the part, which is unique in the set.
    pub part_id: u64,
    /// The number of parts in the set.
    pub total_parts: u64,
    /// The name of the part queue, in which the parts that have ended are counted.
    pub part_queue: String,
}

/// The hooks of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// The set of parts to which the message belongs, if it belongs to one.
    pub part: Option<PartHook>,
    /// The messages to send when the job has ended, in this order.
    pub on_complete: Vec<OnComplete>,
}

/// The names that the hooks of a message may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The allowed prefixes of part queues. The first one is also used for the sets that ork creates itself.
    pub part_queues: Vec<String>,
    /// The allowed prefixes of routing keys.
    pub routes: Vec<String>,
}

impl Default for Allowed {
    /// Part queues begin with `part.`. Routing keys may have any name, because they lead to queues to which every
    /// client can publish anyway.
    fn default() -> Self {
        Self { part_queues: vec!["part.".to_owned()], routes: vec![String::new()] }
    }
}

/// The reason why the hooks of a message are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The hooks are too large.
    #[error("the hooks `on_complete` have {found} bytes, at most {MOST_BYTES} are allowed")]
    TooLarge {
        /// The size in bytes.
        found: usize,
    },
    /// The hooks are nested too deeply.
    #[error("the hooks `on_complete` are nested deeper than {most} levels")]
    TooDeep {
        /// The maximum depth.
        most: usize,
    },
    /// There are too many hooks.
    #[error("the message has {found} hooks `on_complete`, at most {MOST_HOOKS} are allowed")]
    TooMany {
        /// The number of hooks.
        found: usize,
    },
    /// The hooks are given under both of their names.
    #[error("the hooks are set twice, as `on_complete` and as `oncomplete`")]
    Twice,
    /// The value is not a list of hooks.
    #[error(
        "the hooks `on_complete` must be a list of objects such as {{\"route\": \"task\", \"when\": \"success\"}}: \
         {detail}"
    )]
    NoList {
        /// A description of the value that was found.
        detail: String,
    },
    /// A field of a hook is invalid.
    #[error("hook {at} of `on_complete`: `{field}` {expected}")]
    Field {
        /// The position of the hook, starting at 0.
        at: usize,
        /// The name of the field.
        field: String,
        /// The reason why the field is invalid.
        expected: String,
    },
    /// A field of the part hook is missing.
    #[error("the part hook has no `{field}`: it requires `part_id`, `total_parts` and `part_queue`")]
    NoField {
        /// The name of the field.
        field: &'static str,
    },
    /// A number of the part hook is out of range.
    #[error("the part hook's `{field}` is {found}, expected {expected}")]
    Number {
        /// The name of the field.
        field: &'static str,
        /// The value that was found.
        found: u64,
        /// The allowed values.
        expected: String,
    },
    /// The name of the part queue is invalid.
    #[error("the part hook's `part_queue` {expected}")]
    Queue {
        /// The reason why the name is invalid.
        expected: String,
    },
}

/// Truncates a name that is too long to be shown.
fn head(name: &str) -> String {
    clip(name, 60)
}

fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// Checks a name. The error is the reason why it is invalid.
fn name(name: &str, prefixes: &[String]) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    if name.len() > LONGEST_NAME {
        return Err(format!("`{}` has {} bytes, at most {LONGEST_NAME} are allowed", head(name), name.len()));
    }
    if let Some(odd) = name.chars().find(|c| c.is_control()) {
        return Err(format!("contains the character {odd:?}, which is not allowed in a name"));
    }
    if !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
        let prefixes = prefixes.join("`, `");
        return Err(format!("is `{}`, expected a name that starts with `{prefixes}`", head(name)));
    }
    Ok(())
}

impl PartHook {
    /// Reads a part hook from its fields. Returns `None` if all of them are missing.
    ///
    /// # Errors
    /// If only some of the fields are missing, or if a field is invalid.
    pub fn read(
        part_id: Option<u64>,
        total_parts: Option<u64>,
        part_queue: Option<&str>,
        allowed: &Allowed,
    ) -> Result<Option<Self>, HookError> {
        let (part_id, total_parts, part_queue) = match (part_id, total_parts, part_queue) {
            (None, None, None) => return Ok(None),
            (Some(part_id), Some(total_parts), Some(part_queue)) => (part_id, total_parts, part_queue),
            (None, ..) => return Err(HookError::NoField { field: "part_id" }),
            (_, None, _) => return Err(HookError::NoField { field: "total_parts" }),
            (.., None) => return Err(HookError::NoField { field: "part_queue" }),
        };
        if !(1..=MOST_PARTS).contains(&total_parts) {
            let expected = format!("1 to {MOST_PARTS}");
            return Err(HookError::Number { field: "total_parts", found: total_parts, expected });
        }
        name(part_queue, &allowed.part_queues).map_err(|expected| HookError::Queue { expected })?;
        Ok(Some(Self { part_id, total_parts, part_queue: part_queue.to_owned() }))
    }

    /// Checks the part id for a set that ork created itself, in which parts are numbered from 0.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn check_range(&self) -> Result<(), HookError> {
        if self.part_id < self.total_parts {
            return Ok(());
        }
        let expected = format!("less than `total_parts`, which is {}", self.total_parts);
        Err(HookError::Number { field: "part_id", found: self.part_id, expected })
    }
}

impl OnComplete {
    /// Creates a hook that sends an input to a task, regardless of how the job ends.
    pub fn new(route: impl Into<String>, inputs: Option<String>) -> Self {
        Self { route: route.into(), method: None, inputs, when: When::Always }
    }

    /// The name of the task that the hook runs.
    pub fn task(&self) -> &str {
        self.method.as_deref().unwrap_or(&self.route)
    }

    /// Reads a list of hooks from JSON.
    ///
    /// # Errors
    /// If it is too large, or not a valid list of hooks.
    pub fn read_all(text: &[u8], allowed: &Allowed) -> Result<Vec<Self>, HookError> {
        if text.len() > MOST_BYTES {
            return Err(HookError::TooLarge { found: text.len() });
        }
        let limits = Limits { bytes: MOST_BYTES, ..Limits::default() };
        limits.check(text).map_err(|_too_deep| HookError::TooDeep { most: limits.depth })?;
        let no_list = |error: serde_json::Error| HookError::NoList { detail: clip(&error.to_string(), 200) };
        let hooks: Vec<&RawValue> = serde_json::from_slice(text).map_err(no_list)?;
        if hooks.len() > MOST_HOOKS {
            return Err(HookError::TooMany { found: hooks.len() });
        }
        hooks.into_iter().enumerate().map(|(at, hook)| Self::read(at, hook, allowed)).collect()
    }

    fn read(at: usize, hook: &RawValue, allowed: &Allowed) -> Result<Self, HookError> {
        let wrong = |field: &str, expected: String| HookError::Field { at, field: head(field), expected };
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(hook.get())
            .map_err(|error| HookError::NoList { detail: clip(&error.to_string(), 200) })?;
        let text = |field: &str| match fields.get(field).map(|value| value.get()) {
            None | Some("null") => Ok(None),
            Some(value) => match serde_json::from_str::<String>(value) {
                Ok(text) => Ok(Some(text)),
                Err(_other) => Err(wrong(field, format!("is {}, expected a string", head(value)))),
            },
        };
        if let Some(unknown) = fields.keys().find(|field| !FIELDS.contains(&&***field)) {
            return Err(wrong(unknown, format!("is unknown, expected one of `{}`", FIELDS.join("`, `"))));
        }
        if let Some(kind) = text("type")?.filter(|kind| kind != SEND) {
            return Err(wrong("type", format!("is `{}`, expected `{SEND}` or none", head(&kind))));
        }
        let route = text("route")?.ok_or_else(|| wrong("route", "is missing".to_owned()))?;
        name(&route, &allowed.routes).map_err(|expected| wrong("route", expected))?;
        let method = text("method")?.filter(|method| *method != route);
        if let Some(method) = &method {
            name(method, &[String::new()]).map_err(|expected| wrong("method", expected))?;
        }
        let when = match text("when")?.as_deref() {
            None | Some("always") => When::Always,
            Some("success") => When::Success,
            Some("failure") => When::Failure,
            Some(other) => {
                return Err(wrong("when", format!("is `{}`, expected `success`, `failure` or `always`", head(other))));
            }
        };
        let inputs = fields.get("inputs").map(|inputs| inputs.get().to_owned());
        Ok(Self { route, method, inputs, when })
    }

    /// Writes the hooks as a JSON list, which [`OnComplete::read_all`] can read.
    pub fn write_all(hooks: &[Self]) -> String {
        serde_json::to_string(hooks).unwrap_or_default()
    }

    /// Returns the body of the message: the inputs of the hook or, if it has none, an object that describes the job.
    pub fn body(&self, job: &str, task: &str, inputs: &[u8]) -> Vec<u8> {
        if let Some(inputs) = &self.inputs {
            return inputs.clone().into_bytes();
        }
        let inputs = serde_json::from_slice(inputs).ok();
        serde_json::to_vec(&DefaultBody { id: job, method: task, inputs }).unwrap_or_default()
    }
}

/// The fields that a hook may have.
const FIELDS: [&str; 5] = ["type", "route", "method", "inputs", "when"];

/// The body of a hook without inputs.
#[derive(Serialize)]
struct DefaultBody<'a> {
    id: &'a str,
    method: &'a str,
    inputs: Option<&'a RawValue>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_always(when: &When) -> bool {
    *when == When::Always
}

#[expect(clippy::ref_option, reason = "serde requires this signature")]
fn raw<S: serde::Serializer>(inputs: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let raw: Option<&RawValue> = inputs.as_deref().and_then(|inputs| serde_json::from_str(inputs).ok());
    raw.serialize(serializer)
}

impl Hooks {
    /// Whether there are no hooks.
    pub const fn is_empty(&self) -> bool {
        self.part.is_none() && self.on_complete.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<OnComplete>, String> {
        OnComplete::read_all(text.as_bytes(), &Allowed::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn hooks_round_trip_as_json() {
        let text = r#"[{"type": "sendmessage", "route": "a"}, {"route": "b", "method": "m", "when": "failure",
            "inputs": {"z": 1.0, "a": 123456789012345678901234567890}}, {"route": "c", "inputs": null}]"#;
        let hooks = read(text).unwrap();
        let [first, second, third] = &hooks[..] else { panic!("{hooks:?}") };
        assert_eq!(*first, OnComplete::new("a", None));
        assert_eq!((second.task(), second.when), ("m", When::Failure));
        assert_eq!(second.body("1", "t", b"7"), br#"{"z": 1.0, "a": 123456789012345678901234567890}"#);
        assert_eq!(third.body("1", "t", b"7"), b"null");
        assert_eq!(first.body("1", "t", b"[7]"), br#"{"id":"1","method":"t","inputs":[7]}"#);
        assert_eq!(first.body("1", "t", b"no json"), br#"{"id":"1","method":"t","inputs":null}"#);
        assert_eq!(read(&OnComplete::write_all(&hooks)).unwrap(), hooks);
    }

    #[test]
    fn invalid_hooks_are_rejected_with_the_reason() {
        let many = format!("[{}]", vec![r#"{"route":"a"}"#; 1_000].join(","));
        let long = format!(r#"[{{"route":"{}"}}]"#, "x".repeat(256));
        let deep = format!(r#"[{{"route":"a","inputs":{}{}}}]"#, "[".repeat(100), "]".repeat(100));
        let large = format!("[{}]", " ".repeat(MOST_BYTES));
        for (text, expected) in [
            ("7", "must be a list"),
            ("[7]", "must be a list"),
            ("[", "must be a list"),
            (r#"{"route": "a"}"#, "must be a list"),
            ("[{}]", "hook 0 of `on_complete`: `route` is missing"),
            (r#"[{"route": "a"}, {"route": 7}]"#, "hook 1 of `on_complete`: `route` is 7, expected a string"),
            (r#"[{"route": ""}]"#, "`route` is empty"),
            (r#"[{"route": "a\u0000"}]"#, "which is not allowed in a name"),
            (r#"[{"route": "a", "when": "never"}]"#, "expected `success`, `failure` or `always`"),
            (r#"[{"route": "a", "type": "shell"}]"#, "`type` is `shell`"),
            (r#"[{"route": "a", "input": 1}]"#, "`input` is unknown, expected one of `type`"),
            (&many, "1000 hooks `on_complete`, at most 32"),
            (&long, "has 256 bytes, at most 255"),
            (&deep, "nested deeper than 64"),
            (&large, "at most 65536"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text:.60}: {error}");
        }
        let allowed = Allowed { routes: vec!["mine.".to_owned()], ..Allowed::default() };
        let error = OnComplete::read_all(br#"[{"route": "other"}]"#, &allowed).unwrap_err().to_string();
        assert!(error.contains("expected a name that starts with `mine.`"), "{error}");
    }

    #[test]
    fn part_hook_needs_all_fields_or_none() {
        let allowed = Allowed::default();
        let read = |id, total, queue| PartHook::read(id, total, queue, &allowed).map_err(|error| error.to_string());
        assert_eq!(read(None, None, None), Ok(None));
        let hook = read(Some(7), Some(3), Some("part.a")).unwrap().unwrap();
        assert!(hook.check_range().unwrap_err().to_string().contains("`part_id` is 7, expected less than"));
        assert_eq!(PartHook { part_id: 2, ..hook }.check_range(), Ok(()));
        let long = format!("part.{}", "x".repeat(251));
        for (id, total, queue, expected) in [
            (None, Some(3), Some("part.a"), "has no `part_id`"),
            (Some(0), None, Some("part.a"), "has no `total_parts`"),
            (Some(0), Some(3), None, "has no `part_queue`"),
            (Some(0), Some(0), Some("part.a"), "`total_parts` is 0, expected 1 to"),
            (Some(0), Some(MOST_PARTS + 1), Some("part.a"), "expected 1 to"),
            (Some(0), Some(3), Some(""), "is empty"),
            (Some(0), Some(3), Some("ork.task.a"), "starts with `part.`"),
            (Some(0), Some(3), Some(&*long), "has 256 bytes, at most 255"),
        ] {
            let error = read(id, total, queue).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
