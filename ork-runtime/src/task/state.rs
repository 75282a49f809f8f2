//! [`State`]: values that the application gives to its tasks, by type.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::error::CallError;

/// A parameter of a task that holds a value given to [`crate::app::OrkBuilder::state`].
///
/// All tasks of the process share it. It is not part of their input, and its presence is checked when the process
/// starts.
///
/// ```
/// use ork::State;
/// struct Greeting(String);
/// let greeting = State::for_test(Greeting("hello".into()));
/// assert_eq!(greeting.0, "hello");
/// ```
pub struct State<T: ?Sized>(Arc<T>);

impl<T> State<T> {
    /// Creates a state for a unit test that calls a task as a plain function.
    pub fn for_test(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: ?Sized> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&&*self.0).finish()
    }
}

type Value = Arc<dyn Any + Send + Sync>;

/// All states of a process, by type.
#[derive(Default, Clone)]
pub struct States {
    by_type: Arc<HashMap<TypeId, (&'static str, Value)>>,
}

impl States {
    /// Adds a value. Returns whether it is the first one of its type.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        Arc::make_mut(&mut self.by_type).insert(TypeId::of::<T>(), (type_name::<T>(), Arc::new(value))).is_none()
    }

    /// Returns the state of this type, if there is one.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<State<T>> {
        let (_, value) = self.by_type.get(&TypeId::of::<T>())?;
        Arc::clone(value).downcast().ok().map(State)
    }

    /// Whether there is a state of this type.
    pub fn contains(&self, type_id: TypeId) -> bool {
        self.by_type.contains_key(&type_id)
    }

    /// The names of the types of all states, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.by_type.values().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// A trait that only [`State<T>`] implements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `ork::State<T>`",
    label = "not a state",
    note = "mark the parameter `#[input]` if this is your own type `State`"
)]
pub trait IsState: Sized {
    /// The type of the value inside.
    type Value: Send + Sync + 'static;

    /// Returns the state among those of the application.
    ///
    /// # Errors
    /// [`CallError::NoState`] if the application has given none.
    fn of(states: &States) -> Result<Self, CallError>;
}

impl<T: Send + Sync + 'static> IsState for State<T> {
    type Value = T;

    fn of(states: &States) -> Result<Self, CallError> {
        states.get().ok_or(CallError::NoState(type_name::<T>()))
    }
}
