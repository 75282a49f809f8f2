//! The registry: all `#[task]` functions of the program, by task name. They are checked once, at startup.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::task::builtin;
pub use crate::task::def::Task;
use crate::task::def::{Location, Param, Role, TaskDef};
use crate::task::state::States;

/// The ways in which the tasks of a program can be inconsistent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two functions have the same task name.
    #[error("two tasks are named `{name}`: one at {first}, one at {second}; give one of them another `name = \"..\"`")]
    Duplicate {
        /// The name.
        name: &'static str,
        /// The location of the first function.
        first: Box<Location>,
        /// The location of the second function.
        second: Box<Location>,
    },
    /// The name of a task cannot be used as a queue or routing key.
    #[error("the task at {location} has the name `{name}`: expected 1 to 200 letters, digits, `_`, `-` or `.`")]
    Name {
        /// The name.
        name: &'static str,
        /// The location of the task.
        location: Box<Location>,
    },
    /// The task of a split or join is not part of the program.
    #[error("`{function}` at {location} belongs to the task `{name}`, which this program does not contain")]
    Alone {
        /// The path of the function.
        function: &'static str,
        /// The name of the missing task.
        name: &'static str,
        /// The location of the function.
        location: Box<Location>,
    },
    /// An input has constraints, such as a range, and this program was built without the feature that checks them.
    #[error(
        "the inputs of `{name}` at {location} have constraints (`{keyword}`), and this program was built without the \
         feature `constraints`, which checks them: add it with `cargo add ork --features constraints`"
    )]
    Constraints {
        /// The name of the task.
        name: &'static str,
        /// The location of the function.
        location: Box<Location>,
        /// The keyword of one of the constraints in the schema of the inputs.
        keyword: String,
    },
    /// A task needs a state that the application has not given.
    #[error("the task `{task}` at {location} needs a `State<{state}>`: set it with `ork::builder().state(..)`")]
    NoState {
        /// The name of the task.
        task: &'static str,
        /// The location of the task.
        location: Box<Location>,
        /// The type of the state.
        state: &'static str,
    },
}

/// The error for a name that no task has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no task `{name}`{}; {}", suggestion.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default(), known_words(known))]
pub struct UnknownTask {
    /// The requested name.
    pub name: String,
    /// The names of all tasks.
    pub known: Vec<&'static str>,
    /// The most similar name, if there is one.
    pub suggestion: Option<&'static str>,
}

fn known_words(known: &[&'static str]) -> String {
    match known {
        [] => "no tasks are linked in; reference the crate that defines them, e.g. `use my_tasks as _;`".into(),
        known => {
            format!(
                "this program has `{}`; a crate whose tasks are missing must be referenced, e.g. `use my_tasks as _;`",
                known.join("`, `")
            )
        }
    }
}

/// The tasks of a program.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    tasks: BTreeMap<&'static str, Arc<Task>>,
}

impl Registry {
    /// Collects all `#[task]` functions that are linked into this program.
    ///
    /// # Errors
    /// All inconsistencies, in the order of the task names.
    pub fn collect() -> Result<Self, Vec<RegistryError>> {
        Self::of(inventory::iter::<TaskDef>.into_iter().copied())
    }

    /// Collects those `#[task]` functions that are linked into this program and whose paths a test selects.
    ///
    /// # Errors
    /// As for [`Registry::collect`].
    #[doc(hidden)]
    pub fn collect_where(is_wanted: impl Fn(&str) -> bool) -> Result<Self, Vec<RegistryError>> {
        Self::of(inventory::iter::<TaskDef>.into_iter().copied().filter(|def| is_wanted(def.function)))
    }

    /// Creates a registry from these functions.
    ///
    /// # Errors
    /// As for [`Registry::collect`].
    pub fn of(defs: impl IntoIterator<Item = TaskDef>) -> Result<Self, Vec<RegistryError>> {
        let mut defs: Vec<_> = defs.into_iter().collect();
        defs.sort_by_key(|def| (def.name, def.role, def.location.file, def.location.line));
        let (mut tasks, mut problems) = (BTreeMap::<_, Task>::new(), Vec::new());
        for def in defs {
            if !is_name(def.name) {
                problems.push(RegistryError::Name { name: def.name, location: Box::new(def.location) });
                continue;
            }
            #[cfg(not(feature = "constraints"))]
            if let Some(keyword) = crate::task::schema::first_constraint(&def) {
                let location = Box::new(def.location);
                problems.push(RegistryError::Constraints { name: def.name, location, keyword });
                continue;
            }
            // The functions are sorted by role, so the work comes before its split and its join.
            let first = match (def.role, tasks.get_mut(def.name)) {
                (Role::Work, None) => {
                    tasks.insert(def.name, Task { work: def, split: None, join: None });
                    None
                }
                (Role::Work, Some(task)) => Some(task.work),
                (Role::Split, Some(task)) => task.split.replace(def),
                (Role::Join, Some(task)) => task.join.replace(def),
                (Role::Split | Role::Join, None) => {
                    problems.push(RegistryError::Alone {
                        function: def.function,
                        name: def.name,
                        location: Box::new(def.location),
                    });
                    None
                }
            };
            if let Some(first) = first {
                let (first, second) = (Box::new(first.location), Box::new(def.location));
                problems.push(RegistryError::Duplicate { name: def.name, first, second });
            }
        }
        let tasks = tasks.into_iter().map(|(name, task)| (name, Arc::new(task))).collect();
        if problems.is_empty() { Ok(Self { tasks }) } else { Err(problems) }
    }

    /// Returns a registry without the tasks with these names.
    #[doc(hidden)]
    #[must_use]
    pub fn without(mut self, names: &[String]) -> Self {
        self.tasks.retain(|name, _| !names.iter().any(|other| other == name));
        self
    }

    /// Returns the task with this name.
    ///
    /// # Errors
    /// [`UnknownTask`], with the existing names and the most similar one.
    pub fn get(&self, name: &str) -> Result<&Arc<Task>, UnknownTask> {
        self.tasks.get(name).or_else(|| builtin::tasks().get(name)).ok_or_else(|| {
            let known: Vec<_> = self.tasks.keys().copied().collect();
            let similarity = |known: &&'static str| strsim::jaro_winkler(known, name);
            let best = known.iter().copied().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
            let suggestion = best.filter(|best| similarity(best) > 0.75);
            UnknownTask { name: name.chars().take(200).collect(), known, suggestion }
        })
    }

    /// All tasks, in the order of their names.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().map(|task| &**task)
    }

    /// All tasks that a worker serves: those of the program, and the built-in ones.
    pub(crate) fn served(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().chain(builtin::tasks().values()).map(|task| &**task)
    }

    /// The names of all tasks, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.tasks.keys().copied().collect()
    }

    /// Whether there are no tasks.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Checks that the application has given all states that its tasks need.
    ///
    /// # Errors
    /// All missing states.
    pub fn check_states(&self, states: &States) -> Result<(), Vec<RegistryError>> {
        let defs =
            self.tasks.values().flat_map(|task| [Some(&task.work), task.split.as_ref(), task.join.as_ref()]).flatten();
        let missing = defs.flat_map(|def| {
            def.params.iter().filter_map(move |param| match param {
                Param::State { type_id, type_name } if !states.contains(type_id()) => Some(RegistryError::NoState {
                    task: def.name,
                    location: Box::new(def.location),
                    state: type_name(),
                }),
                Param::Field { .. } | Param::Body { .. } | Param::State { .. } | Param::Context | Param::Parts => None,
            })
        });
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=200).contains(&name.len()) && name.chars().all(allowed)
}
