//! The connection of one process to the shared store. Requests and responses are delayed, and refused at times.
//!
//! A request that has reached the store is carried out even if its process crashes before the response.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ork::{JobId, Timestamp};
use ork_core::message::{Message, Outgoing};
use ork_core::metric::{Delta, Metric};
use ork_core::progress::Progress;
use ork_core::tx::{Actor, HeldRow, OutboxId, StoreNotice};
use ork_ports::store::SettledPart;
use ork_ports::store::{
    Expired, Filter, Heartbeat, HeartbeatReply, JobDiagnostics, JobView, MetricsOf, Notifier, OutboxPage, PartFilter,
    PartStatus, Prune, Pruned, Store, StoreError, Take, Work,
};
use ork_runtime::store::memory::Tables;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::broker::describe;
use super::clock::EPOCH;
use super::dice::Dice;
use super::executor::Owner;
use super::names::{Property, Reached};
use super::scenario::StoreKind;
use super::store_troubles::{Access, PATIENCE, doubtful, lock_timeout};
use super::trace::Interest;
use super::world::World;
use super::writer::Waiting;

/// The connection of one process.
pub(crate) struct End {
    pub(crate) world: Arc<World>,
    pub(crate) owner: Owner,
    pub(crate) changes: Notifier,
    pub(crate) queue: Mutex<VecDeque<Waiting>>,
    pub(crate) some: Notify,
    pub(crate) dice: Mutex<Dice>,
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "end of {:?}", self.owner)
    }
}

/// A kind of request to the store.
#[derive(Debug, Clone, Copy)]
struct Request {
    name: &'static str,
    access: Access,
    /// Whether a line is printed for it.
    interest: Interest,
}

impl Request {
    const fn reads(name: &'static str) -> Self {
        Self { name, access: Access::Read, interest: Interest::Shown }
    }

    const fn writes(name: &'static str) -> Self {
        Self { name, access: Access::Write, interest: Interest::Shown }
    }

    /// A request that prints its own line.
    const fn custom(name: &'static str) -> Self {
        Self { name, access: Access::Write, interest: Interest::Routine }
    }
}

impl End {
    pub(crate) fn open(world: &Arc<World>, owner: Owner) -> Arc<Self> {
        let dice = Dice::new(world.scenario.seed, "store", owner.0.into());
        let end = Arc::new(Self {
            world: Arc::clone(world),
            owner,
            changes: Notifier::new(),
            queue: Mutex::default(),
            some: Notify::new(),
            dice: Mutex::new(dice),
        });
        world.executor.spawn(Owner::WORLD, Arc::clone(&end).write());
        end
    }

    pub(crate) fn lives(&self) -> bool {
        self.world.lives(self.owner)
    }

    /// Waits while a request or a response is under way.
    pub(crate) async fn delay(&self) {
        let micros = {
            let mut dice = self.dice.lock().unwrap();
            dice.between(100, 3_000) + dice.any_size(self.world.late() * 1_000)
        };
        self.world.executor.sleep(micros).await;
    }

    /// Publishes notices in this process.
    pub(crate) fn notify(&self, changes: Vec<StoreNotice>) {
        for change in changes {
            self.changes.notify(change);
        }
    }

    /// Publishes notices of another process's changes, after a while.
    pub(crate) async fn notify_of(self: Arc<Self>, changes: Vec<StoreNotice>) {
        let micros = self.dice.lock().unwrap().any_size(200_000);
        self.world.executor.sleep(micros).await;
        if !self.lives() {
            return;
        }
        match self.world.scenario.store {
            StoreKind::Server => self.notify(changes),
            StoreKind::File | StoreKind::None => {
                self.notify(vec![StoreNotice::OutboxReady, StoreNotice::ChangedElsewhere]);
            }
        }
    }

    /// Sends a request to the store. If the caller has gone when the response arrives, `undo` reverts what it can.
    async fn ask<T: Send + 'static>(
        &self,
        request: Request,
        what: impl FnOnce(&World) -> (T, Vec<StoreNotice>) + Send + 'static,
        undo: impl FnOnce(&World, T) -> Vec<StoreNotice> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(end) = self.world.end(self.owner) else { return std::future::pending().await };
        let (sender, receiver) = oneshot::channel();
        self.world.executor.spawn(Owner::WORLD, async move {
            let since = end.world.executor.now();
            end.delay().await;
            if !end.lives() {
                return;
            }
            let until = if request.access == Access::Write { end.world.doubt_until() } else { 0 };
            let is_lost_before = since < until && end.dice.lock().unwrap().percent(50);
            let waits_until = if is_lost_before { until } else { end.locked_until(request) };
            let is_late = end.wait_until(waits_until, since).await;
            if !end.lives() {
                return;
            }
            let error = if is_late && is_lost_before {
                Some(doubtful())
            } else if is_late {
                end.world.oracle(|oracle| oracle.reaches(Reached::LockTimedOut));
                Some(lock_timeout())
            } else {
                end.world.refusal(end.owner, request.access, &mut end.dice.lock().unwrap())
            };
            if let Some(error) = error {
                drop(sender.send(Err(error)));
                return;
            }
            if request.access == Access::Write {
                end.world.flush();
            }
            let (done, changes) = what(&end.world);
            end.world.note_for(request.interest, end.owner, format_args!("store  {}", request.name));
            end.world.broadcast(end.owner, &changes);
            let is_doubtful = end.wait_until(until, since).await;
            end.delay().await;
            if !end.lives() {
                return;
            }
            let unknown = if is_doubtful {
                end.world.oracle(|oracle| oracle.reaches(Reached::InDoubt));
                drop(sender.send(Err(doubtful())));
                end.world.executor.sleep(until.saturating_sub(end.world.executor.now())).await;
                Some(done)
            } else {
                sender.send(Ok(done)).err().and_then(Result::ok)
            };
            if !end.lives() {
                return;
            }
            if let Some(done) = unknown {
                let undone = undo(&end.world, done);
                end.world.broadcast(end.owner, &undone);
                end.notify(undone);
            }
            let notices: Vec<_> = end.changes.send_events(changes).collect();
            end.notify(notices);
        });
        match receiver.await {
            Ok(response) => response,
            // The process has crashed, or the run is over.
            Err(_dropped) => std::future::pending().await,
        }
    }

    /// Notes how long it took until the store had returned its time.
    fn note_response(&self, sent_at: u64) {
        let waited = self.world.executor.now() - sent_at;
        if self.world.scenario.store == StoreKind::Server {
            self.world.oracle(|oracle| oracle.slowest_response = oracle.slowest_response.max(waited));
        }
    }

    /// Until when a request waits for the lock of a file.
    fn locked_until(&self, request: Request) -> u64 {
        if request.access == Access::Write { self.world.file_locked_until() } else { 0 }
    }

    /// Waits until this moment, but no longer than requests wait; returns whether that was too short.
    async fn wait_until(&self, until: u64, since: u64) -> bool {
        let (now, late) = (self.world.executor.now(), since + PATIENCE);
        self.world.executor.sleep(until.min(late).saturating_sub(now)).await;
        now < until && late < until
    }

    async fn read<T: Send + 'static>(
        &self,
        name: &'static str,
        what: impl FnOnce(&Tables) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(
            Request::reads(name),
            move |world| (world.truth(|tables| what(tables)), Vec::new()),
            |_world, _done| Vec::new(),
        )
        .await
    }
}

#[async_trait]
impl Store for End {
    fn notifier(&self) -> &Notifier {
        &self.changes
    }

    fn enqueue(&self, work: Box<dyn Work>) {
        self.queue.lock().unwrap().push_back(Waiting { work, since: self.world.executor.now() });
        self.some.notify_one();
    }

    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError> {
        let (owner, by) = (self.owner, take.actor.clone());
        let undo = move |world: &World, taken: OutboxPage| {
            let ids: Vec<_> = taken.rows.iter().map(|row| row.id).collect();
            world.truth(|tables| tables.release_outbox(&ids, &by))
        };
        let what = move |world: &World| {
            let taken = world.truth(|tables| tables.take(&take));
            for message in taken.rows.iter().filter(|row| row.losses > 0).flat_map(|row| &row.messages) {
                if let Outgoing::Work(message) = message {
                    world.oracle(|oracle| oracle.note_redelivery(message, world.executor.now()));
                }
            }
            for row in &taken.rows {
                world.note(owner, format_args!("takes  {}", shown(row)));
            }
            // Without a broker, the worker receives what it takes.
            if world.server.is_none() {
                for row in &taken.rows {
                    let is_suspect = row.losses > 0 && row.losses >= world.scenario.most_losses();
                    for message in row.messages.iter().filter_map(work_of) {
                        world.oracle(|oracle| oracle.receives(owner, message, is_suspect, world.executor.now()));
                    }
                }
            }
            (taken, Vec::new())
        };
        self.ask(Request::custom("take"), what, undo).await
    }

    async fn delete_outbox(&self, rows: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        let owner = self.owner;
        let what = move |world: &World| {
            world.note(owner, format_args!("deletes rows {rows:?}"));
            (world.truth(|tables| tables.delete_outbox(&rows, &by)), Vec::new())
        };
        self.ask(Request::custom("delete"), what, |_world, ()| Vec::new()).await
    }

    async fn release_outbox(&self, rows: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        let owner = self.owner;
        let what = move |world: &World| {
            world.note(owner, format_args!("releases rows {rows:?}"));
            let changes = world.truth(|tables| tables.release_outbox(&rows, &by));
            if world.scenario.store == StoreKind::Server {
                world.keep_durable();
            }
            world.releases(owner);
            ((), changes)
        };
        self.ask(Request::custom("release"), what, |_world, ()| Vec::new()).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        if self.world.scenario.store == StoreKind::File {
            return Ok(None);
        }
        let sent_at = self.world.executor.now();
        let time = |world: &World| (Some(world.time()), Vec::new());
        let response = self.ask(Request::reads("time"), time, |_world, _time| Vec::new()).await;
        self.note_response(sent_at);
        response
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        let (sent_at, owner) = (self.world.executor.now(), self.owner);
        let what = move |world: &World| {
            // A heartbeat counts from when it is written.
            let waited = std::time::Duration::from_micros(world.executor.now() - sent_at);
            world.beats(owner, Heartbeat { ttl: beat.ttl + waited, ..beat })
        };
        let reply = self.ask(Request::custom("beat"), what, |_world, _reply| Vec::new()).await?;
        self.note_response(sent_at);
        self.world.learns_of_ends(owner, &reply.ended);
        Ok(reply)
    }

    async fn leave(&self, by: Actor) -> Result<(), StoreError> {
        let what = move |world: &World| ((), world.truth(|tables| tables.leave(&by)));
        self.ask(Request::writes("leave"), what, |_world, ()| Vec::new()).await
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        let what = move |world: &World| ((), world.truth(|tables| tables.progress(job, part, progress)));
        self.ask(Request::writes("progress"), what, |_world, ()| Vec::new()).await
    }

    async fn record(&self, deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError> {
        let what = move |world: &World| (world.truth(|tables| tables.record(deltas)), Vec::new());
        self.ask(Request::writes("record"), what, |_world, _jobs| Vec::new()).await
    }

    async fn metrics(&self, of: MetricsOf) -> Result<Vec<Metric>, StoreError> {
        self.read("metrics", move |tables| tables.recorded(of)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        self.read("job", move |tables| tables.job(id)).await
    }

    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError> {
        self.read("jobs", move |tables| tables.jobs(&filter)).await
    }

    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        self.read("parts", move |tables| tables.parts(job, from, limit)).await
    }

    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        self.read("list parts", move |tables| tables.list_parts(job, &filter)).await
    }

    async fn diagnostics(&self, job: JobId) -> Result<JobDiagnostics, StoreError> {
        self.read("situation", move |tables| tables.diagnostics(job)).await
    }

    async fn store_id(&self) -> Result<Uuid, StoreError> {
        Ok(Uuid::from_u128(7))
    }

    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        self.read("known", move |tables| tables.known(jobs)).await
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        self.read("expired", move |tables| tables.expired(before, limit)).await
    }

    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        let what = move |world: &World| {
            let kept = std::time::Duration::from_secs(world.scenario.retention);
            // By clocks that are correct within a few seconds.
            if prune.before + kept > world.time() + std::time::Duration::from_secs(5) {
                let detail = format!("jobs that ended before {} are removed at {}", prune.before, world.time());
                world.oracle(|oracle| oracle.report(Property::Kept, detail));
            }
            (world.truth(|tables| tables.prune(&prune)), Vec::new())
        };
        self.ask(Request::writes("prune"), what, |_world, _pruned| Vec::new()).await
    }

    async fn check(&self) -> Result<String, StoreError> {
        Ok("simulated".into())
    }

    async fn close(&self) {}
}

/// Describes a row of the outbox for the trace.
fn shown(row: &HeldRow) -> String {
    let first = match row.messages.first() {
        Some(Outgoing::Work(message)) => describe(message),
        Some(Outgoing::Reply(reply)) => format!("the reply of {}", reply.job),
        Some(Outgoing::Hook(follow)) => format!("the hook {} {}", follow.task, follow.id),
        Some(Outgoing::Event(event)) => format!("the event {}", event.id),
        Some(Outgoing::PendingEvent { job, .. }) => format!("an event of {job}"),
        Some(Outgoing::Hooks { job, .. }) => format!("the hooks of {job}"),
        None => "nothing".to_owned(),
    };
    let more = row.messages.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let lost = if row.losses > 0 { format!(", lost {} times", row.losses) } else { String::new() };
    format!("row {}: {first}{more}{lost}", row.id)
}

/// The time of the store's clock at a virtual moment.
pub(crate) fn store_time(micros: u64) -> Timestamp {
    Timestamp::from_millis(EPOCH + i64::try_from(micros / 1_000).unwrap())
}

/// The virtual moment at which the clock of the store shows this time.
pub(crate) fn virtual_micros(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis() - EPOCH).unwrap_or(0) * 1_000
}

fn work_of(outgoing: &Outgoing) -> Option<&Message> {
    if let Outgoing::Work(message) = outgoing { Some(message) } else { None }
}
