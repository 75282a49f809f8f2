//! What the steps of a run have returned: read from the store, as a whole or a field of it.

use std::collections::HashMap;

use bytes::Bytes;
use ork_workflow::{Plan, Reference};
use serde_json::value::RawValue;

use super::super::large::Whose;
use super::super::{Engine, ProcessError};
use crate::flow::step_id;
use crate::id::JobId;
use crate::job::State;
use crate::ledger::MOST_PARTS;
use crate::objects::{ObjectError, ObjectErrorKind};
use crate::store::{JobView, StoreError, StoreErrorKind};

/// So many parts are read at once.
const PAGE: usize = 1_000;

/// What a step finds wrong with what another one returned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble(pub(super) String);

/// The outputs of one run.
pub(super) struct Outputs<'a> {
    pub(super) engine: &'a Engine,
    pub(super) run: JobId,
    pub(super) plan: &'a Plan,
}

impl Outputs<'_> {
    fn words(&self, reference: &Reference) -> String {
        let task = self.plan.tasks.get(reference.task).map_or("?", |step| &step.name);
        [&[task.to_owned()], reference.path.as_slice()].concat().join(".")
    }

    /// What is referred to, as JSON.
    pub(super) async fn value(&self, reference: &Reference) -> Result<Result<Bytes, Trouble>, ProcessError> {
        let Some(step) = self.plan.tasks.get(reference.task) else {
            return Ok(Err(Trouble(format!("the plan has no task {}", reference.task))));
        };
        let job = step_id(self.run, &step.name);
        let view = self.engine.store.job(job).await?;
        let whole = match (&step.fan, view) {
            // It was skipped.
            (None, None) => return Ok(Ok(Bytes::from_static(b"null"))),
            (Some(_), None) => Ok(Bytes::from_static(b"[]")),
            (Some(_), Some(view)) => self.list(&view).await?,
            (None, Some(JobView { job, output: Some(output), .. })) if job.state == State::Success => {
                self.read(Whose { job: job.id, part: None }, output).await?
            }
            (None, Some(_)) => Ok(Bytes::from_static(b"null")),
        };
        Ok(whole.and_then(|whole| field(&whole, reference).map_err(|at| self.no_field(reference, at))))
    }

    /// A whole number that says how many instances there are.
    pub(super) async fn count(&self, reference: &Reference) -> Result<Result<u64, Trouble>, ProcessError> {
        let value = self.value(reference).await?;
        Ok(value.and_then(|value| {
            let count = whole(&value).filter(|count| *count <= MOST_PARTS);
            count.ok_or_else(|| {
                let (words, found) = (self.words(reference), shown(&value));
                Trouble(format!("`parallel: {words}` is {found}, expected a whole number from 0 to {MOST_PARTS}"))
            })
        }))
    }

    /// The items of a list.
    pub(super) async fn items(&self, reference: &Reference) -> Result<Result<Vec<Bytes>, Trouble>, ProcessError> {
        let value = self.value(reference).await?;
        Ok(value.and_then(|value| match serde_json::from_slice::<Vec<&RawValue>>(&value) {
            Ok(items) => Ok(items.into_iter().map(|item| Bytes::copy_from_slice(item.get().as_bytes())).collect()),
            Err(_) => {
                Err(Trouble(format!("`foreach: {}` is {}, expected a list", self.words(reference), shown(&value))))
            }
        }))
    }

    /// What the instances of a step have returned, in order; `null` for each that has not.
    async fn list(&self, view: &JobView) -> Result<Result<Bytes, Trouble>, ProcessError> {
        let (job, total) = (view.job.id, view.head.appended);
        let (mut list, mut next) = (b"[".to_vec(), 0);
        while next < total {
            let page = self.engine.store.parts(job, next, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for part in page {
                (next..part.index).for_each(|_| push(&mut list, b"null"));
                next = part.index + 1;
                match part.output {
                    None => push(&mut list, b"null"),
                    Some(output) => match self.read(Whose { job, part: Some(part.index) }, output).await? {
                        Ok(output) => push(&mut list, &output),
                        Err(why) => return Ok(Err(why)),
                    },
                }
            }
        }
        (next..total).for_each(|_| push(&mut list, b"null"));
        list.push(b']');
        Ok(Ok(list.into()))
    }

    /// An output that may be elsewhere.
    async fn read(&self, whose: Whose, row: Bytes) -> Result<Result<Bytes, Trouble>, ProcessError> {
        match self.engine.large.read(whose, row).await {
            Ok(output) => Ok(Ok(output)),
            Err(error) if matches!(error.kind(), ObjectErrorKind::Unavailable | ObjectErrorKind::Config) => {
                Err(ProcessError::Store(not_read(error)))
            }
            Err(error) => Ok(Err(Trouble(error.to_string()))),
        }
    }

    fn no_field(&self, reference: &Reference, at: NoField) -> Trouble {
        let task = self.plan.tasks.get(reference.task).map_or("?", |step| &step.name);
        Trouble(match at {
            NoField::Missing(field) => {
                format!("`{}`: what `{task}` returned has no field `{field}`", self.words(reference))
            }
            NoField::Not(found) => {
                format!("`{}`: what `{task}` returned is {found} there, expected an object", self.words(reference))
            }
        })
    }
}

fn not_read(error: ObjectError) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "what another step returned cannot be read").with_source(error)
}

fn push(list: &mut Vec<u8>, value: &[u8]) {
    if list.len() > 1 {
        list.push(b',');
    }
    list.extend_from_slice(value);
}

/// A whole number, however it is written: `2.0` is one, too.
fn whole(value: &[u8]) -> Option<u64> {
    let number: serde_json::Number = serde_json::from_slice(value).ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::as_conversions,
        reason = "it is whole and in range"
    )]
    let from_float = |float: f64| (float.fract() == 0.0 && (0.0..1e15).contains(&float)).then_some(float as u64);
    number.as_u64().or_else(|| number.as_f64().and_then(from_float))
}

enum NoField {
    Missing(String),
    Not(String),
}

/// A field of a value; what is `null` has only `null` in it.
fn field(whole: &Bytes, reference: &Reference) -> Result<Bytes, NoField> {
    let mut value = whole.clone();
    for name in &reference.path {
        if &*value == b"null" {
            return Ok(value);
        }
        let object: HashMap<String, &RawValue> =
            serde_json::from_slice(&value).map_err(|_no_object| NoField::Not(shown(&value)))?;
        let found = object.get(name).ok_or_else(|| NoField::Missing(name.clone()))?;
        value = Bytes::copy_from_slice(found.get().as_bytes());
    }
    Ok(value)
}

/// The beginning of a value, for people.
fn shown(value: &[u8]) -> String {
    const LONGEST: usize = 60;
    // A program may have written it over many lines.
    let text = String::from_utf8_lossy(value).split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
    }
}
