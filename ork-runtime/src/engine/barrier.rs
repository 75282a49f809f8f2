//! The barrier of a storeless set of parts: `crate::barrier` decides, a part queue of the broker counts, and this
//! file performs the actions.
//!
//! Called when a part has ended, before its delivery is acknowledged.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::part_sets::Passed;
use super::retry::{self, Interrupted};
use crate::barrier::{Barrier, BarrierAction, BarrierEvent, Entry, Fate, Set};
use crate::broker::{BrokerError, BrokerErrorKind, Opened, PartQueues, PartReader, PartRecord};
use crate::failure::{Failure, FailureKind};
use crate::mutant::{self, Mutant};

/// The time that a reader waits for its own mark. It arrives at once, unless another consumer reads from the queue as
/// well.
const MARK_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that a worker that has to stop may take to remove the queue of a set whose join or hooks were done.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(1);

/// An unacknowledged record of the part queue.
#[derive(Debug)]
pub(super) struct HeldRecord {
    tag: u64,
    pub(super) entry: Entry,
    pub(super) body: bytes::Bytes,
}

/// Whether the bodies of records are kept in memory: a join needs them, a mere count does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    Keep,
    Drop,
}

/// The function that does what follows a complete set, given its records. It returns whether that was done.
pub(super) type Fire<'a> = Box<dyn FnOnce(Set, Vec<HeldRecord>) -> BoxFuture<'a, bool> + Send + 'a>;

/// Takes a worker through the barrier. `fire` does what follows the set, once it is complete.
pub(super) async fn pass(
    engine: &Engine,
    barrier: Barrier,
    bodies: Bodies,
    record: PartRecord,
    fire: Fire<'_>,
) -> Passed {
    pass_until(engine, None, barrier, bodies, record, fire).await
}

/// As [`pass`], but gives up if `stop` fires before what follows the set was done.
pub(super) async fn pass_until(
    engine: &Engine,
    stop: Option<&CancellationToken>,
    barrier: Barrier,
    bodies: Bodies,
    record: PartRecord,
    fire: Fire<'_>,
) -> Passed {
    let Some(queues) = engine.broker.parts() else { return Passed::NoParts };
    let fired = AtomicBool::new(false);
    let passing = Passing {
        engine,
        queues,
        record,
        bodies,
        total: barrier.total(),
        stop,
        rounds: 0,
        is_replaced: false,
        reader: None,
        fired: &fired,
    };
    let mut run = pin!(passing.run(barrier, fire));
    tokio::select! {
        biased;
        passed = run.as_mut() => return passed,
        () = engine.force.cancelled() => {}
    }
    if !fired.load(Ordering::Relaxed) {
        return Passed::Interrupted;
    }
    // What follows the set was done. If the queue stayed, another worker would do it again; if this worker did not
    // learn of the removal, its redelivered part would find the queue missing.
    tokio::select! {
        biased;
        passed = run => passed,
        () = engine.clock.pause(REMOVE_TIMEOUT) => Passed::Interrupted,
    }
}

struct Passing<'a> {
    engine: &'a Engine,
    queues: &'a dyn PartQueues,
    record: PartRecord,
    bodies: Bodies,
    total: u64,
    /// Cancelled when a worker that only checks the set has to stop.
    stop: Option<&'a CancellationToken>,
    /// The number of times that all records were put back, or a reader was lost.
    rounds: u32,
    /// Whether a failure has replaced the output in the record, which was too large.
    is_replaced: bool,
    reader: Option<(Box<dyn PartReader>, Vec<HeldRecord>)>,
    /// Whether what follows the set was done.
    fired: &'a AtomicBool,
}

impl Passing<'_> {
    async fn run(mut self, mut barrier: Barrier, fire: Fire<'_>) -> Passed {
        let mut fire = Some(fire);
        loop {
            let stops = self.stop.is_some_and(CancellationToken::is_cancelled);
            if stops && !self.fired.load(Ordering::Relaxed) {
                return Passed::Interrupted;
            }
            let event = match barrier.next() {
                BarrierAction::End(end) => return Passed::Done(end),
                BarrierAction::Read => {
                    let Some(event) = self.read(&mut barrier).await else { continue };
                    self.rounds += 1;
                    if event == BarrierEvent::Lost {
                        self.reader = None;
                    }
                    Ok(event)
                }
                BarrierAction::Fire => {
                    let kept = self.reader.as_mut().map(|(_, kept)| std::mem::take(kept)).unwrap_or_default();
                    let (Some(fire), Some(set)) = (fire.take(), barrier.complete()) else {
                        return Passed::Interrupted;
                    };
                    if !fire(set.clone(), kept).await {
                        // Dropping the reader returns all records to the queue.
                        return Passed::Interrupted;
                    }
                    self.fired.store(true, Ordering::Relaxed);
                    Ok(BarrierEvent::Fired)
                }
                BarrierAction::PutBack => self.put_back(&barrier).await,
                BarrierAction::Record => self.record().await,
                BarrierAction::Count => self.count().await,
                BarrierAction::Open => self.open(self.total).await,
                BarrierAction::Probe => self.probe().await,
                BarrierAction::Remove => self.remove().await,
            };
            match event {
                Ok(event) => barrier.happened(event),
                Err(_interrupted) => return Passed::Interrupted,
            }
        }
    }

    async fn record(&mut self) -> Result<BarrierEvent, Interrupted> {
        loop {
            let (queues, record, n_tries) = (self.queues, &self.record, AtomicU32::new(0));
            let try_once = || {
                n_tries.fetch_add(1, Ordering::Relaxed);
                queues.record(record)
            };
            let Err(error) = retry::broker(self.engine, try_once).await? else { return Ok(BarrierEvent::Recorded) };
            if error.kind() == BrokerErrorKind::TooLarge && !self.is_replaced {
                self.fail_record(&error);
                continue;
            }
            if error.kind() != BrokerErrorKind::Undeliverable {
                tracing::error!(%error, queue = self.record.queue, "cannot record a part in its part queue");
            }
            // An earlier try may have been written although its confirm was lost. If it completed the set, another
            // worker has removed the queue.
            let may_be_there = n_tries.into_inner() > 1
                && error.kind() == BrokerErrorKind::Undeliverable
                && !mutant::is_on(Mutant::ForgetsDoubtfulRecord);
            return Ok(if may_be_there { BarrierEvent::Recorded } else { BarrierEvent::NoQueue });
        }
    }

    /// Replaces an output that is too large for the queue by a failure of the part.
    fn fail_record(&mut self, error: &BrokerError) {
        let detail = format!("the output cannot be recorded: {error}");
        let failure = Failure::new(FailureKind::Output, detail);
        self.record.body = serde_json::to_vec(&failure).unwrap_or_default().into();
        if let Entry::Part { ok, .. } = &mut self.record.entry {
            *ok = false;
        }
        self.is_replaced = true;
    }

    async fn count(&mut self) -> Result<BarrierEvent, Interrupted> {
        if self.rounds > 1 {
            // Another consumer reads from the queue: a random pause avoids a collision at the same moment again.
            let pause = retry::PAUSE.mul_f64(self.engine.entropy.fraction());
            self.engine.clock.pause(pause).await;
        }
        let (queues, queue) = (self.queues, &*self.record.queue);
        let counted = retry::broker(self.engine, move || queues.count(queue)).await?;
        Ok(counted.ok().flatten().map_or(BarrierEvent::NoQueue, BarrierEvent::Counted))
    }

    /// Checks that no consumer holds records that are not counted.
    async fn probe(&mut self) -> Result<BarrierEvent, Interrupted> {
        let event = self.open(0).await?;
        if event == BarrierEvent::Busy {
            self.engine.clock.pause(retry::PAUSE.mul_f64(0.2)).await;
        }
        Ok(event)
    }

    async fn open(&mut self, total: u64) -> Result<BarrierEvent, Interrupted> {
        let (queues, queue) = (self.queues, &*self.record.queue);
        let opened = retry::broker(self.engine, move || queues.open(queue, total)).await?;
        Ok(match opened {
            Ok(Opened::Reader(reader)) => {
                self.reader = Some((reader, Vec::new()));
                BarrierEvent::Opened
            }
            Ok(Opened::Busy) => BarrierEvent::Busy,
            Ok(Opened::NoQueue) | Err(_) => BarrierEvent::NoQueue,
        })
    }

    /// Reads one record. Returns an event if something else happened.
    async fn read(&mut self, barrier: &mut Barrier) -> Option<BarrierEvent> {
        let Some((reader, kept)) = &mut self.reader else { return Some(BarrierEvent::Lost) };
        // Before the first record another reader may be at work, for as long as it likes.
        let patience = async {
            if barrier.waits_for_mark() {
                self.engine.clock.pause(MARK_TIMEOUT).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let next = tokio::select! {
            biased;
            next = reader.next() => next,
            () = patience => return Some(BarrierEvent::MarkTimedOut),
        };
        let Some(mut read) = next else { return Some(BarrierEvent::Lost) };
        if let Some(mark) = barrier.marks_now()
            && !reader.mark(mark).await
        {
            return Some(BarrierEvent::Lost);
        }
        let there = match barrier.read(&read.entry) {
            Fate::Keep => {
                // A head may be put back in place of the record of this worker's part, and so may another record of it.
                let is_needed =
                    matches!(read.entry, Entry::Head { .. }) || is_of_same_part(&read.entry, &self.record.entry);
                if self.bodies == Bodies::Drop && !is_needed {
                    read.body = bytes::Bytes::new();
                }
                kept.push(HeldRecord { tag: read.tag, entry: read.entry, body: read.body });
                true
            }
            Fate::Drop => reader.done(read.tag).await,
            Fate::DeadLetter(why) => reader.dead_letter(read.tag, &why).await,
        };
        (!there).then_some(BarrierEvent::Lost)
    }

    async fn put_back(&mut self, barrier: &Barrier) -> Result<BarrierEvent, Interrupted> {
        self.rounds += 1;
        let Some((mut reader, kept)) = self.reader.take() else { return Ok(BarrierEvent::Lost) };
        tracing::debug!(
            queue = self.record.queue,
            kept = kept.len(),
            "not all parts have arrived, requeuing the records"
        );
        // The last record that is put back is one that the queue has already. The record of this worker's part may be
        // of an abandoned run, or the queue may have another outcome of the part: it succeeded, and was later lost too
        // often. Published again and again, such a record would be counted each time, and be of no use.
        let is_stale = barrier.is_stale(&self.record.entry) && !mutant::is_on(Mutant::PutsBackStaleRecord);
        let (mut last, mut own) = (self.record.clone(), None);
        for HeldRecord { tag, entry, body } in kept {
            if barrier.is_stale(&entry) && !reader.done(tag).await {
                return Ok(BarrierEvent::Lost);
            }
            let is_last = if is_stale {
                matches!(entry, Entry::Head { .. })
            } else {
                is_of_same_part(&entry, &self.record.entry)
            };
            if is_last {
                (last.entry, last.body, own) = (entry, body, Some(tag));
            }
        }
        Ok(if reader.put_back(last, own).await { BarrierEvent::PutBack } else { BarrierEvent::Lost })
    }

    async fn remove(&mut self) -> Result<BarrierEvent, Interrupted> {
        let (queues, queue) = (self.queues, &*self.record.queue);
        let removed = retry::broker(self.engine, move || queues.remove(queue)).await?;
        if let Err(error) = removed {
            tracing::warn!(%error, queue = self.record.queue, "cannot delete a part queue");
        }
        self.reader = None;
        Ok(BarrierEvent::Removed)
    }
}

/// Returns whether two records are of the same part, or both are the head of the same run.
fn is_of_same_part(one: &Entry, other: &Entry) -> bool {
    match (one, other) {
        (Entry::Head { epoch }, Entry::Head { epoch: e }) => epoch == e,
        (Entry::Part { epoch, id, ok, .. }, Entry::Part { epoch: e, id: i, ok: o, .. }) => {
            (epoch, id) == (e, i) && (ok == o || !mutant::is_on(Mutant::PutsBackSecondOutcome))
        }
        _ => false,
    }
}
