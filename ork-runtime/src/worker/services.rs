//! The services that every process runs, worker or not: the relay, the heartbeat, and the writers of progress and of
//! metrics.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::events;
use super::metrics;
use super::relay::relay;
use super::sets;
use super::unattended::{self, Look, LookSchedule};
use crate::clock::Timestamp;
use crate::clock::shared::{Set, SharedClock, seconds};
use crate::engine::{Engine, ProgressReceiver, Receivers, Report};
use crate::mutant::{self, Mutant};
use crate::store::{Heartbeat, HeartbeatReply, Store, StoreError};
use crate::supervisor::Supervisor;
use crate::tx::{ALIVE, Actor, StoreNotice};

/// The interval between two heartbeats of a process.
const BEAT: Duration = Duration::from_secs(5);

/// The pause before a heartbeat that could not be written is retried.
const BEAT_RETRY: Duration = Duration::from_secs(1);

/// The time for which a process is considered alive after a heartbeat.
pub(crate) const TTL: Duration = ALIVE;

/// The minimum time between two checks for jobs that ended while calls of them run in this process.
const LOOK: Duration = Duration::from_millis(200);

/// Starts the services. They end when the supervisor stops.
pub(crate) fn start(engine: &Arc<Engine>, supervisor: &Supervisor, Receivers { outbox, progress, metrics }: Receivers) {
    let stop = supervisor.stopping();
    if engine.broker.parts().is_some() {
        supervisor.service("sets", sets::recount(Arc::clone(engine), supervisor.clone(), stop.clone()));
    }
    if !engine.store.records_jobs() {
        let engine = Arc::clone(engine);
        supervisor.service("events", async move { events::publish(&engine, outbox.events, &stop, &stop).await });
        return;
    }
    if engine.broker.needs_relay() {
        supervisor.service("relay", relay(Arc::clone(engine), outbox, stop.clone()));
    }
    let (unattended, found) = mpsc::channel(1);
    supervisor.service("unattended", unattended::resend_lost(Arc::clone(engine), found, stop.clone()));
    supervisor.thread("heartbeat", heartbeat(Arc::clone(engine), unattended, stop.clone()));
    supervisor.service("progress", report(Arc::clone(engine), progress, stop.clone()));
    // Subscribed here, so that the service misses no ended job, however late it is first polled.
    let changes = engine.store.notifier().watch();
    supervisor.service("metrics", metrics::write(Arc::clone(engine), metrics, changes, stop));
}

/// Sets the clock of this process by the clock of its store, before any timestamp of it is written.
///
/// # Errors
/// If the time of the store cannot be read.
pub(crate) async fn set_clock(store: &dyn Store, clock: &SharedClock) -> Result<(), StoreError> {
    let requested = clock.monotonic();
    let shown = store.time().await?;
    correct_clock(clock, shown, requested);
    Ok(())
}

/// Sets the clock of this process by a time that the store has returned, and warns if the clock of this computer is far
/// from it. `requested` is the monotonic time of the request to the store. Returns by how much the clock was moved.
fn correct_clock(clock: &SharedClock, shown: Option<Timestamp>, requested: Duration) -> Duration {
    let Some(shown) = shown else { return Duration::ZERO };
    let Set { moved, ahead } = clock.set(shown, [requested, clock.monotonic()]);
    if let Some(ahead) = ahead {
        let (gap, side) = (seconds(ahead), if ahead > 0 { "ahead of" } else { "behind" });
        tracing::warn!(
            "the clock of this computer is {gap} s {side} the clock of the store; ork uses the clock of the store, \
             correct this one"
        );
    }
    moved
}

/// Returns the heartbeat that was due at this time.
///
/// A late heartbeat is valid for as long as one that is written in time, and judges the other processes as of the time
/// when it was due: what delayed this process, such as a suspended computer, may have delayed all of them. The next
/// heartbeat finds the dead ones.
fn due(actor: Actor, moment: Timestamp) -> Heartbeat {
    let late = actor.now - moment;
    let seen = if mutant::is_on(Mutant::JudgesLate) { actor.now } else { actor.now.min(moment) };
    let actor = Actor { now: seen, ..actor };
    Heartbeat { ttl: TTL + late, running: Vec::new(), holding: Vec::new(), waiting: Vec::new(), actor }
}

/// Writes heartbeats, and stops the calls of jobs that have ended, e.g. because they were cancelled. Jobs without a
/// message in flight are passed to `unattended`.
async fn heartbeat(engine: Arc<Engine>, unattended: mpsc::Sender<Look>, stop: CancellationToken) {
    let mut schedule = LookSchedule::default();
    let mut changes = engine.store.notifier().watch();
    let (mut next, mut failures, mut moved) = (engine.clock.now(), 0_u32, false);
    loop {
        let (snapshot, requested, started) =
            (engine.running.snapshot(), engine.store_clock.monotonic(), engine.clock.now());
        let tasks = schedule.due(&engine);
        let (running, holding) = (snapshot.jobs.clone(), engine.held.jobs());
        let running = if mutant::is_on(Mutant::ReportsNothingRunning) { Vec::new() } else { running };
        let beat = Heartbeat { running, holding, waiting: tasks.clone(), ..due(engine.actor(), next) };
        match engine.store.heartbeat(beat).await {
            Ok(HeartbeatReply { ended, time, unattended: found }) => {
                failures = 0;
                // The heartbeat was written by a wrong clock, e.g. after the computer was suspended. It is repeated by
                // the corrected one.
                moved = correct_clock(&engine.store_clock, time, requested) > TTL / 4 && !moved;
                if moved {
                    continue;
                }
                schedule.answered(&tasks, engine.clock.now());
                if !tasks.is_empty() {
                    // If the channel is full, the next look finds these jobs again.
                    let _missed = unattended.try_send(Look { tasks, found });
                }
                for job in ended.into_iter().filter(|_| !mutant::is_on(Mutant::ContinuesAfterCancel)) {
                    engine.running.stop(job, &snapshot);
                }
            }
            // Retry soon, before the last heartbeat expires.
            Err(_) if mutant::is_on(Mutant::StopsHeartbeats) => return,
            Err(error) => {
                failures += 1;
                if failures.is_power_of_two() {
                    tracing::warn!(%error, failures, "cannot write the heartbeat");
                }
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = engine.clock.pause(BEAT_RETRY) => continue,
                }
            }
        }
        if engine.clock.now() >= next {
            // Counted from the request: if the process was frozen until the reply arrived, its next heartbeat is late
            // and must judge the other processes as of the time when it was due.
            let from = if mutant::is_on(Mutant::CountsHeartbeatsFromResponse) { engine.clock.now() } else { started };
            next = from + BEAT;
        }
        let earliest = engine.clock.pause(LOOK);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = earliest => {}
        }
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = engine.clock.pause_until(next) => break,
                change = changes.recv() => match change {
                    // The job may have been retried since, so the next heartbeat queries the store.
                    Ok(StoreNotice::JobEnded(job)) if engine.running.runs(job) => break,
                    // Another process may have cancelled a job that runs here, even one that started after the last
                    // check.
                    Ok(StoreNotice::ChangedElsewhere) | Err(RecvError::Lagged(_)) if engine.running.any() => break,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

/// Writes progress reports to the store.
async fn report(engine: Arc<Engine>, progress: ProgressReceiver, stop: CancellationToken) {
    // Published at once, before the event that the job has ended.
    let publish = |report: &Report| engine.emit_progress(&report.info, &report.progress);
    loop {
        let (newest, last) = tokio::select! {
            biased;
            () = stop.cancelled() => (progress.take(publish), true),
            newest = progress.next(publish) => (newest, false),
        };
        for ((job, part), report) in newest {
            if let Err(error) = engine.store.progress(job, part, report.progress).await {
                tracing::debug!(%error, %job, "cannot write a progress report");
                if mutant::is_on(Mutant::StopsReports) {
                    return;
                }
            }
        }
        if last {
            return;
        }
    }
}
