//! The outputs of the steps of a run: read from the store, as a whole or one field.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ork_workflow::Reference;
use serde_json::value::RawValue;

use super::super::large_outputs::OutputKey;
use super::super::outcome::rejected;
use super::super::{Engine, ProcessError};
use super::RunSnapshot;
use crate::broker::DeadLetterReason;
use crate::id::JobId;
use crate::job::State;
use crate::ledger::MOST_PARTS;
use crate::message::Message;
use crate::mutant::{self, Mutant};
use crate::objects::{ObjectError, ObjectErrorKind};
use crate::store::{JobView, StoreError, StoreErrorKind};

/// The number of parts that are read at once.
const PAGE: usize = 1_000;

/// The reason why an output that a step needs is missing.
#[derive(Debug)]
pub(super) enum NoOutput {
    /// The output does not match the workflow.
    Wrong(String),
    /// The output cannot be read now.
    Process(ProcessError),
}

impl From<StoreError> for NoOutput {
    fn from(error: StoreError) -> Self {
        Self::Process(error.into())
    }
}

impl RunSnapshot {
    /// Reads the run that this message is a step of.
    pub(super) async fn read(engine: &Engine, message: &Message, id: JobId) -> Result<Self, ProcessError> {
        let rejected = |why: String| rejected(message, DeadLetterReason::UnknownJob, why);
        let view = engine.store.job(id).await?.ok_or_else(|| rejected(format!("its run {id} is not in this store")))?;
        let state = view.job.workflow_run().ok_or_else(|| rejected(format!("its run {id} has not started")))?;
        let plan = serde_json::from_slice(&view.input)
            .map_err(|error| rejected(format!("the plan of its run {id} cannot be read: {error}")))?;
        Ok(Self { id, plan: Arc::new(plan), state: Arc::new(state.clone()) })
    }
}

/// The outputs of one run.
pub(super) struct Outputs<'a> {
    pub(super) engine: &'a Engine,
    pub(super) run: &'a RunSnapshot,
}

impl Outputs<'_> {
    fn step(&self, reference: &Reference) -> &str {
        self.run.plan.steps.get(reference.step).map_or("?", |step| &step.name)
    }

    fn path(&self, reference: &Reference) -> String {
        [&[self.step(reference).to_owned()], reference.path.as_slice()].concat().join(".")
    }

    /// Returns the value that a reference points to, as JSON.
    pub(super) async fn value(&self, reference: &Reference) -> Result<Bytes, NoOutput> {
        let RunSnapshot { id, plan, state } = self.run;
        let (Some(step), Some(of)) = (plan.steps.get(reference.step), state.steps.get(reference.step)) else {
            return Err(NoOutput::Wrong(format!("the plan has no step {}", reference.step)));
        };
        let view = self.engine.store.job(of.job(*id)).await?;
        let whole = match (&step.fan_out, view) {
            _ if mutant::is_on(Mutant::GivesNoOutputs) => Bytes::from_static(b"null"),
            // The step was skipped.
            (None, None) => return Ok(Bytes::from_static(b"null")),
            (Some(_), None) => Bytes::from_static(b"[]"),
            (Some(_), Some(view)) => self.list(&view).await?,
            (None, Some(JobView { job, output: Some(output), .. })) if job.state == State::Succeeded => {
                self.read(OutputKey { job: job.id, part: None }, output).await?
            }
            (None, Some(_)) => Bytes::from_static(b"null"),
        };
        field(&whole, reference).map_err(|at| self.no_field(reference, at))
    }

    /// Returns the number of instances that a reference points to.
    pub(super) async fn count(&self, reference: &Reference) -> Result<u64, NoOutput> {
        let value = self.value(reference).await?;
        whole(&value).filter(|count| *count <= MOST_PARTS).ok_or_else(|| {
            let (path, found) = (self.path(reference), shown(&value));
            NoOutput::Wrong(format!("`parallel: {path}` is {found}, expected an integer from 0 to {MOST_PARTS}"))
        })
    }

    /// Returns the items of the list that a reference points to.
    pub(super) async fn items(&self, reference: &Reference) -> Result<Vec<Bytes>, NoOutput> {
        let value = self.value(reference).await?;
        let items: Vec<&RawValue> = serde_json::from_slice(&value).map_err(|_not_a_list| {
            let (path, found) = (self.path(reference), shown(&value));
            NoOutput::Wrong(format!("`foreach: {path}` is {found}, expected a list"))
        })?;
        Ok(items.into_iter().map(|item| Bytes::copy_from_slice(item.get().as_bytes())).collect())
    }

    /// Returns the outputs of the instances of a step as a list, in order; `null` for each instance without an
    /// output.
    async fn list(&self, view: &JobView) -> Result<Bytes, NoOutput> {
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
                    Some(output) => {
                        push(&mut list, &self.read(OutputKey { job, part: Some(part.index) }, output).await?);
                    }
                }
            }
        }
        (next..total).for_each(|_| push(&mut list, b"null"));
        list.push(b']');
        Ok(list.into())
    }

    /// Reads an output, which may be stored as an object.
    async fn read(&self, key: OutputKey, row: Bytes) -> Result<Bytes, NoOutput> {
        self.engine.large.read(key, row).await.map_err(|error| match error.kind() {
            ObjectErrorKind::Unavailable | ObjectErrorKind::Config => not_read(error).into(),
            ObjectErrorKind::Missing | ObjectErrorKind::Damaged => NoOutput::Wrong(error.to_string()),
        })
    }

    fn no_field(&self, reference: &Reference, at: NoField) -> NoOutput {
        let (step, path) = (self.step(reference), self.path(reference));
        NoOutput::Wrong(match at {
            NoField::Missing(field) => format!("`{path}`: the output of `{step}` has no field `{field}`"),
            NoField::Not(found) => {
                format!("`{path}`: the output of `{step}` is {found} there, expected an object")
            }
        })
    }
}

fn not_read(error: ObjectError) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the output of another step cannot be read").with_source(error)
}

fn push(list: &mut Vec<u8>, value: &[u8]) {
    if list.len() > 1 {
        list.push(b',');
    }
    list.extend_from_slice(value);
}

/// Reads a whole number in any notation, e.g. `2.0`.
fn whole(value: &[u8]) -> Option<u64> {
    let number: serde_json::Number = serde_json::from_slice(value).ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::as_conversions,
        reason = "it is an integer in range"
    )]
    let from_float = |float: f64| (float.fract() == 0.0 && (0.0..1e15).contains(&float)).then_some(float as u64);
    number.as_u64().or_else(|| number.as_f64().and_then(from_float))
}

enum NoField {
    Missing(String),
    Not(String),
}

/// Returns a field of a value. Every field of `null` is `null`.
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

/// Returns the beginning of a value, for messages.
fn shown(value: &[u8]) -> String {
    const LONGEST: usize = 60;
    // An external program may have written it over many lines.
    let text = String::from_utf8_lossy(value).split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
    }
}
