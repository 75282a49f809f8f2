//! Builds the plan: the tasks in topological order, with indices in place of names.

use std::collections::BTreeMap;

use super::Check;
use super::inputs::{InputSource, InputSources};
use crate::document::{InstanceCount, Path};
use crate::plan::{Count, FanOut, OnFailure, Plan, Reference, Source, Step};

/// Builds the plan; `None` if a part of it is missing because of an error that was already reported.
pub(super) fn plan(
    check: &Check<'_>,
    order: &[usize],
    sources: &[InputSources],
    values: &[Option<Source>],
) -> Option<Plan> {
    let mut places = vec![0; order.len()];
    for (place, index) in order.iter().enumerate() {
        *places.get_mut(*index)? = place;
    }
    let builder = Builder { check, places, sources, values };
    let steps = order.iter().map(|index| builder.step(*index)).collect::<Option<Vec<_>>>()?;
    let name = check.document.name.clone().unwrap_or_else(|| check.file.stem().to_owned());
    Some(Plan { name, folder: None, steps })
}

struct Builder<'a> {
    check: &'a Check<'a>,
    /// The index in the plan of each task.
    places: Vec<usize>,
    sources: &'a [InputSources],
    values: &'a [Option<Source>],
}

impl Builder<'_> {
    fn step(&self, index: usize) -> Option<Step> {
        let (task, known, dependencies) = self.check.task(index)?;
        let mut needs: Vec<usize> =
            dependencies.needs.iter().map(|(need, _)| self.places.get(*need).copied()).collect::<Option<_>>()?;
        needs.sort_unstable();
        Some(Step {
            name: task.name.text.clone(),
            runs: known.runs.clone()?,
            needs,
            input: self.input(index)?,
            form: known.form,
            fan_out: self.fan_out(index)?,
            on_failure: task.on_failure.map_or(OnFailure::default(), |(choice, _)| choice),
            concurrency: task.concurrency,
            retries: task.retries,
            retry_delay: task.retry_delay,
            timeout: task.timeout,
            env: task.env.clone(),
        })
    }

    fn input(&self, index: usize) -> Option<BTreeMap<String, Source>> {
        let mut input = BTreeMap::new();
        for (name, from) in self.sources.get(index)? {
            let source = match from {
                InputSource::Constant(value) => Source::Value(value.clone()),
                InputSource::Task(other) => Source::Output(self.reference(*other, &[])?),
                InputSource::Parameter(number) => match self.values.get(*number)? {
                    Some(source) => source.clone(),
                    None => continue,
                },
            };
            input.insert(name.clone(), source);
        }
        Some(input)
    }

    /// Returns how a task fans out, or `Some(None)` if it runs once. The outer `None` means that a reference is
    /// broken.
    #[expect(clippy::option_option, reason = "a task that runs once is something else than one that is broken")]
    fn fan_out(&self, index: usize) -> Option<Option<FanOut>> {
        let (task, _, dependencies) = self.check.task(index)?;
        let path = |path: &Path, other: Option<usize>| {
            let fields: Vec<String> = path.fields.iter().map(|field| field.text.clone()).collect();
            self.reference(other?, &fields)
        };
        let foreach = match &task.foreach {
            Some(it) => Some(path(it, dependencies.foreach)?),
            None => None,
        };
        let parallel = match &task.parallel {
            Some(InstanceCount::Fixed(count)) => Some(Count::Fixed(*count)),
            Some(InstanceCount::Of(it)) => Some(Count::Of(path(it, dependencies.parallel)?)),
            None => None,
        };
        Some(task.fans_out().then_some(FanOut { foreach, parallel }))
    }

    fn reference(&self, other: usize, fields: &[String]) -> Option<Reference> {
        Some(Reference { step: self.places.get(other).copied()?, path: fields.to_vec() })
    }
}
