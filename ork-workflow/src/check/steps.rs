//! Builds the plan: the tasks in topological order, with indices in place of names.

use std::collections::BTreeMap;

use super::Check;
use super::inputs::{Giver, Givers};
use crate::document::{Many, Path};
use crate::plan::{Count, Fan, OnFailure, Plan, Reference, Source, Step};

/// Builds the plan; `None` if a part of it is missing because of an error that was already reported.
pub(super) fn plan(check: &Check<'_>, order: &[usize], givers: &[Givers], values: &[Option<Source>]) -> Option<Plan> {
    let mut places = vec![0; order.len()];
    for (place, index) in order.iter().enumerate() {
        *places.get_mut(*index)? = place;
    }
    let builder = Builder { check, places, givers, values };
    let tasks = order.iter().map(|index| builder.step(*index)).collect::<Option<Vec<_>>>()?;
    let name = check.document.name.clone().unwrap_or_else(|| check.file.stem().to_owned());
    Some(Plan { name, folder: None, tasks })
}

struct Builder<'a> {
    check: &'a Check<'a>,
    /// The index in the plan of each task.
    places: Vec<usize>,
    givers: &'a [Givers],
    values: &'a [Option<Source>],
}

impl Builder<'_> {
    fn step(&self, index: usize) -> Option<Step> {
        let (task, known, wires) = self.check.task(index)?;
        let mut needs: Vec<usize> =
            wires.needs.iter().map(|(need, _)| self.places.get(*need).copied()).collect::<Option<_>>()?;
        needs.sort_unstable();
        Some(Step {
            name: task.name.text.clone(),
            runs: known.runs.clone()?,
            needs,
            input: self.input(index)?,
            form: known.form,
            fan: self.fan(index)?,
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
        for (name, giver) in self.givers.get(index)? {
            let source = match giver {
                Giver::Constant(value) => Source::Value(value.clone()),
                Giver::Task(other) => Source::Output(self.reference(*other, &[])?),
                Giver::Parameter(number) => match self.values.get(*number)? {
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
    fn fan(&self, index: usize) -> Option<Option<Fan>> {
        let (task, _, wires) = self.check.task(index)?;
        let path = |path: &Path, other: Option<usize>| {
            let fields: Vec<String> = path.fields.iter().map(|field| field.text.clone()).collect();
            self.reference(other?, &fields)
        };
        let foreach = match &task.foreach {
            Some(it) => Some(path(it, wires.foreach)?),
            None => None,
        };
        let parallel = match &task.parallel {
            Some(Many::Fixed(count)) => Some(Count::Fixed(*count)),
            Some(Many::Of(it)) => Some(Count::Of(path(it, wires.parallel)?)),
            None => None,
        };
        Some(task.fans().then_some(Fan { foreach, parallel }))
    }

    fn reference(&self, other: usize, fields: &[String]) -> Option<Reference> {
        Some(Reference { task: self.places.get(other).copied()?, path: fields.to_vec() })
    }
}
