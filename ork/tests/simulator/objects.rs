//! The object store for large outputs: all processes share it, and it has its own troubles.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, iter, once};
use ork::{Filter, Timestamp};
use ork_ports::objects::{Object, ObjectError, ObjectErrorKind, Objects};

use super::dice::Dice;
use super::executor::Owner;
use super::names::{Property, Reached};
use super::world::World;

/// Outputs of more bytes than this are stored as objects.
pub(crate) const BEYOND: usize = 2;

/// The objects, and when each was written.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    objects: BTreeMap<String, (Bytes, Timestamp)>,
    /// Until when it refuses everything.
    refuses_until: u64,
}

/// The connection of one process to it.
#[derive(Debug)]
pub(crate) struct ObjectsEnd {
    world: Arc<World>,
    owner: Owner,
    dice: Mutex<Dice>,
}

fn error(kind: ObjectErrorKind, detail: &str) -> ObjectError {
    ObjectError::new(kind, format!("the simulated place {detail}"))
}

impl ObjectsEnd {
    pub(crate) fn open(world: &Arc<World>, owner: Owner) -> Arc<Self> {
        let dice = Mutex::new(Dice::new(world.scenario.seed, "objects", owner.0.into()));
        Arc::new(Self { world: Arc::clone(world), owner, dice })
    }

    /// Runs a request. A refused request may have been carried out.
    async fn ask<T: Send>(&self, what: impl FnOnce(&mut Kept) -> T + Send) -> Result<T, ObjectError> {
        let (there, back, is_done) = {
            let mut dice = self.dice.lock().unwrap();
            (dice.between(100, 20_000), dice.between(100, 20_000), dice.percent(50))
        };
        self.world.executor.sleep(there).await;
        let refuses = self.world.executor.now() < self.world.objects.lock().unwrap().refuses_until;
        let done = (!refuses || is_done).then(|| what(&mut self.world.objects.lock().unwrap()));
        self.world.executor.sleep(back).await;
        done.filter(|_| !refuses).ok_or_else(|| error(ObjectErrorKind::Unavailable, "refuses"))
    }
}

#[async_trait]
impl Objects for ObjectsEnd {
    fn place(&self) -> &'static str {
        "simulated"
    }

    async fn put(&self, name: &str, body: Bytes) -> Result<(), ObjectError> {
        self.world.note(self.owner, format_args!("writes the output {name}"));
        let object = (body, self.world.time());
        self.ask(|kept| kept.objects.insert(name.to_owned(), object)).await.map(drop)
    }

    async fn get(&self, name: &str, _bytes: u64) -> Result<Bytes, ObjectError> {
        let found = self.ask(|kept| kept.objects.get(name).map(|(body, _)| body.clone())).await?;
        self.world.oracle(|oracle| oracle.reaches(Reached::ObjectsRead));
        found.ok_or_else(|| error(ObjectErrorKind::Missing, "has no such object"))
    }

    fn list(&self, word: &str) -> BoxStream<'static, Result<Object, ObjectError>> {
        let kept = self.world.objects.lock().unwrap();
        if self.world.executor.now() < kept.refuses_until {
            return once(std::future::ready(Err(error(ObjectErrorKind::Unavailable, "refuses")))).boxed();
        }
        let found = kept.objects.iter().filter(|(name, _)| name.starts_with(word));
        let found: Vec<_> =
            found.map(|(name, (_, written))| Object { name: name.clone(), written: *written }).collect();
        iter(found.into_iter().map(Ok)).boxed()
    }

    async fn remove(&self, names: Vec<String>) -> Result<(), ObjectError> {
        for name in &names {
            self.world.note(self.owner, format_args!("removes the output {name}"));
            self.world.check_unused(name);
        }
        self.ask(|kept| kept.objects.retain(|name, _| !names.contains(name))).await
    }

    async fn check(&self) -> Result<String, ObjectError> {
        Ok("simulated".to_owned())
    }
}

impl World {
    pub(crate) fn refuse_objects(&self, until: u64) {
        self.objects.lock().unwrap().refuses_until = until;
    }

    /// Resolves what a row of the store holds: the output itself, or a reference to an object.
    pub(crate) fn output(&self, row: Option<Bytes>) -> Option<Bytes> {
        let row = row?;
        let Some(name) = object_of(&row) else { return Some(row) };
        self.objects.lock().unwrap().objects.get(&name).map(|(body, _)| body.clone())
    }

    /// Checks that no row refers to an object that is removed.
    fn check_unused(&self, name: &str) {
        self.oracle(|oracle| oracle.reaches(Reached::ObjectsRemoved));
        let views = self.truth(|tables| tables.jobs(&Filter { limit: usize::MAX, ..Filter::default() }));
        let uses = |row: Option<&Bytes>| row.and_then(|row| object_of(row)).is_some_and(|used| used == name);
        for view in views {
            let parts = self.truth(|tables| tables.parts(view.job.id, 0, usize::MAX));
            if uses(view.output.as_ref()) || parts.iter().any(|part| uses(part.output.as_ref())) {
                let detail = format!("{name} is removed, and {} refers to it", view.job.id);
                return self.oracle(|oracle| oracle.report(Property::Objects, detail));
            }
        }
    }
}

/// The object that a row refers to.
fn object_of(row: &[u8]) -> Option<String> {
    ork_core::output::OutputRef::read(row)?.ok()?.object
}
