//! Compares two bundles and reports the effect of the changes on queued messages, on clients and on workflows.
//!
//! Whether the values of one type are also values of another is decided as for the inputs of workflow steps: `Yes` is
//! certain, `No` comes with a counterexample, and what cannot be decided is reported as such.

mod fields;

use ork_workflow::{Type, Verdict, is_subtype};
use serde::Serialize;
use serde_json::Value;

pub use self::fields::Field;
use super::bundle::{VERSION, VERSION_KEY};
use super::fingerprint::{fingerprint, is_note};

/// The effect of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "why")]
pub enum Effect {
    /// The change breaks nothing.
    Compatible,
    /// It is not known whether the change breaks something, for these reasons.
    Unsure(Vec<String>),
    /// The change breaks something, for these reasons.
    Breaks(Vec<String>),
}

impl Effect {
    /// Combines two effects.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Compatible, other) | (other, Self::Compatible) => other,
            (Self::Breaks(mut all), Self::Breaks(more)) => {
                all.extend(more);
                Self::Breaks(all)
            }
            (Self::Breaks(all), Self::Unsure(_)) | (Self::Unsure(_), Self::Breaks(all)) => Self::Breaks(all),
            (Self::Unsure(mut all), Self::Unsure(more)) => {
                all.extend(more);
                Self::Unsure(all)
            }
        }
    }

    fn breaks(why: impl Into<String>) -> Self {
        Self::Breaks(vec![why.into()])
    }

    /// Whether the change breaks something.
    pub const fn is_breaking(&self) -> bool {
        matches!(self, Self::Breaks(_))
    }

    /// Whether it is not known if the change breaks something.
    pub const fn is_unsure(&self) -> bool {
        matches!(self, Self::Unsure(_))
    }
}

/// The kind of change of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Became {
    /// The task is new.
    Added,
    /// The input, the output or the queue of the task has changed.
    Changed,
    /// The task was removed.
    Removed,
}

/// A change of one task, and its effects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The name of the task.
    pub task: String,
    /// The kind of change.
    pub became: Became,
    /// The fields that have changed.
    pub fields: Vec<Field>,
    /// The effect on messages that old programs have sent and new workers find in the queue.
    pub queued: Effect,
    /// The effect on programs with the old types that communicate with new workers.
    pub clients: Effect,
    /// The effect on workflows that use the task, as `check` reports it.
    pub workflows: Effect,
}

impl Change {
    /// All effects, each with the name of what it concerns.
    pub const fn effects(&self) -> [(&'static str, &Effect); 3] {
        [("queued messages", &self.queued), ("clients", &self.clients), ("workflows", &self.workflows)]
    }
}

/// The error for a document that is not a bundle, or not one of a known version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotABundle {
    /// The document is something else.
    #[error("not a file written by `schema export`: `{VERSION_KEY}` is missing")]
    Other,
    /// The document has a version that this version of ork does not know.
    #[error("unsupported format version {found}: this version of ork supports only {VERSION}")]
    Version {
        /// The version that was found.
        found: Value,
    },
}

/// Compares two [bundles](super::bundle) task by task. Tasks that have not changed are left out.
///
/// ```
/// use ork::schema::{Became, bundle, compare};
///
/// assert_eq!(compare(&bundle(&[]), &bundle(&[])).unwrap(), []);
/// assert!(compare(&bundle(&[]), &serde_json::json!({})).is_err());
/// ```
///
/// # Errors
/// If one of the documents is not a bundle, or has a version that this version of ork does not know.
pub fn compare(old: &Value, new: &Value) -> Result<Vec<Change>, NotABundle> {
    let tasks = |bundle: &Value| match bundle.get(VERSION_KEY) {
        None => Err(NotABundle::Other),
        Some(found) if *found != VERSION => Err(NotABundle::Version { found: found.clone() }),
        Some(_) => bundle.get("properties").and_then(Value::as_object).cloned().ok_or(NotABundle::Other),
    };
    let (before, after) = (tasks(old)?, tasks(new)?);
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let changes = names.into_iter().filter_map(|name| {
        let side = |tasks: &'_ serde_json::Map<String, Value>| tasks.get(name).cloned();
        match (side(&before), side(&after)) {
            (Some(a), Some(b)) => changed(name, Side { task: &a, root: old }, Side { task: &b, root: new }),
            (Some(_), None) => Some(removed(name)),
            (None, Some(_)) => Some(added(name)),
            (None, None) => None,
        }
    });
    Ok(changes.collect())
}

/// Returns the type of another schema in the same document.
const fn in_same_document<'a>(of: Type<'a>, schema: &'a Value) -> Type<'a> {
    Type { schema, root: of.root }
}

/// A task of one of the two documents.
#[derive(Debug, Clone, Copy)]
struct Side<'a> {
    task: &'a Value,
    root: &'a Value,
}

impl<'a> Side<'a> {
    fn of(self, what: &str) -> Option<Type<'a>> {
        let schema = self.task.get("properties").and_then(|it| it.get(what))?;
        Some(Type { schema, root: self.root })
    }

    /// The input of the task's function: that of a part, if the task has a split.
    fn work(self) -> Option<Type<'a>> {
        self.of("part").or_else(|| self.of("input"))
    }

    fn queue(self) -> Option<&'a str> {
        self.task.get("x-ork-queue").and_then(Value::as_str)
    }
}

/// Whether two schemas have the same constraints.
fn same(a: Type<'_>, b: Type<'_>) -> bool {
    fingerprint(a.schema, a.root) == fingerprint(b.schema, b.root)
}

fn added(name: &str) -> Change {
    let fine = || Effect::Compatible;
    let (queued, clients, workflows) = (fine(), fine(), fine());
    Change { task: name.to_owned(), became: Became::Added, fields: Vec::new(), queued, clients, workflows }
}

fn removed(name: &str) -> Change {
    let breaks_because = |why: &str| Effect::breaks(format!("the task was removed: {why}"));
    Change {
        task: name.to_owned(),
        became: Became::Removed,
        fields: Vec::new(),
        queued: breaks_because("its messages are not consumed, or are dead-lettered as `unknown-task`"),
        clients: breaks_because("the jobs that they submit do not run"),
        workflows: breaks_because("`check` rejects workflows that use it"),
    }
}

fn changed(name: &str, old: Side<'_>, new: Side<'_>) -> Option<Change> {
    let mut fields = Vec::new();
    for what in ["input", "part", "output"] {
        if old.of(what).is_some() || new.of(what).is_some() {
            fields.extend(fields::changed(what, old.of(what), new.of(what)));
        }
    }
    if old.queue() != new.queue() {
        let word = |side: Side<'_>| side.queue().map(str::to_owned);
        fields.push(Field { path: "queue".into(), before: word(old), after: word(new) });
    }
    if fields.is_empty() {
        return None;
    }
    let input = fits("input", old.of("input"), new.of("input"));
    let parts = if old.of("part").is_some() { fits("part", old.work(), new.work()) } else { Effect::Compatible };
    let output = fits("output", new.of("output"), old.of("output"));
    let queue = match (old.queue(), new.queue()) {
        (Some(a), Some(b)) if a != b => {
            Effect::breaks(format!("they are in the queue of `{a}`, but new workers consume the queue of `{b}`"))
        }
        _ => Effect::Compatible,
    };
    let clients = input.clone().and(output);
    Some(Change {
        task: name.to_owned(),
        became: Became::Changed,
        fields,
        queued: queue.and(input).and(parts),
        workflows: match &clients {
            // `check` does not report what it cannot decide.
            Effect::Unsure(_) => Effect::Compatible,
            other => other.clone(),
        },
        clients,
    })
}

/// Whether values of type `from` fit where type `to` is expected.
fn fits(what: &str, from: Option<Type<'_>>, to: Option<Type<'_>>) -> Effect {
    let (Some(from), Some(to)) = (from, to) else { return Effect::Compatible };
    // Equal types are compatible, even if `is_subtype` could not decide it.
    if same(from, to) {
        return Effect::Compatible;
    }
    match is_subtype(from, to) {
        Verdict::Yes => Effect::Compatible,
        Verdict::No(reasons) => Effect::Breaks(reasons.iter().map(|why| at(what, &why.path, &why.text)).collect()),
        Verdict::Unknown(why) => Effect::Unsure(vec![at(what, "", &why)]),
    }
}

fn at(what: &str, path: &str, text: &str) -> String {
    format!("`{what}{path}`: {text}")
}
