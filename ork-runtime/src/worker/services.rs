//! The services of every process, worker or not: the relay, the heartbeat, the writers of progress and of measurements.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::events;
use super::metrics;
use super::relay::relay;
use super::sets;
use super::unattended::{self, Asks, Look};
use crate::clock::Timestamp;
use crate::clock::shared::{Set, SharedClock, seconds};
use crate::engine::{Engine, MetricsReceiver, OutboxReceiver, ProgressReceiver};
use crate::mutant::{self, Mutant};
use crate::store::{Heartbeat, HeartbeatReply, Store, StoreError};
use crate::supervisor::Supervisor;
use crate::tx::{ALIVE, Actor, StoreNotice};

/// How often a process says that it lives.
const BEAT: Duration = Duration::from_secs(5);

/// After so long it says so again, if that could not be written.
const BEAT_AGAIN: Duration = Duration::from_secs(1);

/// For how long that is believed.
pub(crate) const TTL: Duration = ALIVE;

/// How much time there is at least between two looks for jobs that ended while they run here.
const LOOK: Duration = Duration::from_millis(200);

/// Starts the services; they end with the supervisor.
pub(crate) fn start(
    engine: &Arc<Engine>,
    supervisor: &Supervisor,
    to_send: OutboxReceiver,
    (progress, measured): (ProgressReceiver, MetricsReceiver),
) {
    let stop = supervisor.stopping();
    if engine.broker.parts().is_some() {
        supervisor.service("sets", sets::count_again(Arc::clone(engine), supervisor.clone(), stop.clone()));
    }
    if !engine.store.is_durable() {
        let engine = Arc::clone(engine);
        supervisor.service("events", async move { events::publish(&engine, to_send.events, &stop, &stop).await });
        return;
    }
    if engine.broker.needs_relay() {
        supervisor.service("relay", relay(Arc::clone(engine), to_send, stop.clone()));
    }
    let (unattended, found) = mpsc::channel(1);
    supervisor.service("unattended", unattended::send_again(Arc::clone(engine), found, stop.clone()));
    supervisor.thread("heartbeat", heartbeat(Arc::clone(engine), unattended, stop.clone()));
    supervisor.service("progress", report(Arc::clone(engine), progress, stop.clone()));
    // It hears from now on of what ends, however late it begins.
    let changes = engine.store.notifier().watch();
    supervisor.service("measures", metrics::write(Arc::clone(engine), measured, changes, stop));
}

/// Sets the clock of this process right by that of its store, before anything is written by it.
///
/// # Errors
/// When the store cannot be asked for its time.
pub(crate) async fn set_clock(store: &dyn Store, clock: &SharedClock) -> Result<(), StoreError> {
    let asked = clock.monotonic();
    let shown = store.time().await?;
    hold_against(clock, shown, asked);
    Ok(())
}

/// Sets the clock of this process right by what the store has shown since it was asked, and warns if the time of day of
/// this computer is far from it. Answers by how much the clock was moved.
fn hold_against(clock: &SharedClock, shown: Option<Timestamp>, asked: Duration) -> Duration {
    let Some(shown) = shown else { return Duration::ZERO };
    let Set { moved, ahead } = clock.set(shown, [asked, clock.monotonic()]);
    if let Some(ahead) = ahead {
        let (apart, way) = (seconds(ahead), if ahead > 0 { "ahead of" } else { "behind" });
        tracing::warn!(
            "the clock of this computer is {apart} s {way} the clock of the store; ork goes by that of the store, set \
             this one right"
        );
    }
    moved
}

/// A sign of life that was due at this moment.
///
/// One that comes late is believed for as long as one in time, and looks at the others as they were at that moment:
/// what held up this process, such as a computer that slept, may have held up all of them. The next one finds those
/// that are dead.
fn due(actor: Actor, moment: Timestamp) -> Heartbeat {
    let late = actor.now - moment;
    let seen = if mutant::is_on(Mutant::JudgesLate) { actor.now } else { actor.now.min(moment) };
    let actor = Actor { now: seen, ..actor };
    Heartbeat { ttl: TTL + late, running: Vec::new(), holding: Vec::new(), waiting: Vec::new(), actor }
}

/// Says that the process lives, and stops what was cancelled. What nothing is under way for goes to `unattended`.
async fn heartbeat(engine: Arc<Engine>, unattended: mpsc::Sender<Look>, stop: CancellationToken) {
    let mut asks = Asks::default();
    let mut changes = engine.store.notifier().watch();
    let (mut next, mut failures, mut moved) = (engine.clock.now(), 0_u32, false);
    loop {
        let (noted, asked, begun) = (engine.running.snapshot(), engine.store_clock.monotonic(), engine.clock.now());
        let tasks = asks.due(&engine);
        let (running, holding) = (noted.jobs.clone(), engine.held.jobs());
        let running = if mutant::is_on(Mutant::SaysNothingRuns) { Vec::new() } else { running };
        let beat = Heartbeat { running, holding, waiting: tasks.clone(), ..due(engine.actor(), next) };
        match engine.store.heartbeat(beat).await {
            Ok(HeartbeatReply { ended, time, unattended: found }) => {
                failures = 0;
                // The clock was wrong by which it was written, as after a sleep of the computer: once more by the
                // right one.
                moved = hold_against(&engine.store_clock, time, asked) > TTL / 4 && !moved;
                if moved {
                    continue;
                }
                asks.asked(&tasks, engine.clock.now());
                if !tasks.is_empty() {
                    // What is missed is found by the next look.
                    let _missed = unattended.try_send(Look { tasks, found });
                }
                for job in ended.into_iter().filter(|_| !mutant::is_on(Mutant::GoesOnAfterCancel)) {
                    engine.running.stop(job, &noted);
                }
            }
            // Once more soon: the time for which the last one is believed runs out.
            Err(_) if mutant::is_on(Mutant::HeartStops) => return,
            Err(error) => {
                failures += 1;
                if failures.is_power_of_two() {
                    tracing::warn!(%error, failures, "the heartbeat could not be written");
                }
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = engine.clock.pause(BEAT_AGAIN) => continue,
                }
            }
        }
        if engine.clock.now() >= next {
            // Counted from the request: a process that was frozen until the answer is late, and must judge the others
            // as of the time at which its heartbeat was due.
            let from = if mutant::is_on(Mutant::CountsBeatsFromAnswer) { engine.clock.now() } else { begun };
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
                    // It may have been retried since, so the store is asked.
                    Ok(StoreNotice::JobEnded(job)) if engine.running.runs(job) => break,
                    // Another process may have cancelled what runs here, be it begun since the last look.
                    Ok(StoreNotice::ChangedElsewhere) | Err(RecvError::Lagged(_)) if engine.running.any() => break,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

/// Writes progress down.
async fn report(engine: Arc<Engine>, progress: ProgressReceiver, stop: CancellationToken) {
    loop {
        let (newest, last) = tokio::select! {
            biased;
            () = stop.cancelled() => (progress.take(), true),
            newest = progress.next() => (newest, false),
        };
        // At once, before the job can tell its end.
        for report in newest.values().filter(|report| !report.emitted) {
            engine.emit_progress(&report.about, &report.progress);
        }
        for ((job, part), report) in newest {
            if let Err(error) = engine.store.progress(job, part, report.progress).await {
                tracing::debug!(%error, %job, "a progress report was not written");
            }
        }
        if last {
            return;
        }
    }
}
