//! Mutants: faults that tests turn on in this code, one at a time, to show that the tests find them.
//!
//! Each mutant is a condition next to the code that it breaks. Without the private feature `_mutants` none is
//! compiled in.

/// Defines the mutants, and the list of all of them.
macro_rules! mutants {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A mutant, named and described by what it does wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Mutant {
            $($(#[$doc])+ $name,)+
        }

        impl Mutant {
            /// All mutants.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

// A new mutant goes next to those of the same module, with a line that describes what the changed code does. `is_on`
// turns it on in that code; `docs/simulator.md` lists the steps that follow.
mutants! {
    /// A worker that is draining starts calls that it has already claimed.
    BeginsAfterDrain,
    /// A blocking function is called although its job was cancelled while it waited for a thread.
    BeginsAfterWait,
    /// A redelivered message is started while its first call is still running in this process.
    StartsWorkInFlight,
    /// A running call is not stopped when its job has ended.
    ContinuesAfterCancel,
    /// The clock is not adjusted to that of the store.
    BelievesOwnClock,
    /// A late heartbeat judges the other processes by the current time, not by the time at which it was due.
    JudgesLate,
    /// The next heartbeat is due one interval after the reply to the last one, not after its request.
    CountsHeartbeatsFromResponse,
    /// The heartbeat stops at the first one that cannot be written.
    StopsHeartbeats,
    /// A client does not query the store when it is only notified that something has changed elsewhere.
    IgnoresElsewhere,
    /// A row that was released in the store counts as done.
    ForgetsReleased,
    /// A settlement does not release its permit.
    KeepsPermit,
    /// A released permit does not wake a waiting call.
    WakesNoWaiter,
    /// A permit is granted although all of them are taken.
    OverdrawsPermits,
    /// An attempt that is not the current one is settled.
    SettlesOldAttempt,
    /// A job that was cancelled is claimed.
    ClaimsEnded,
    /// A part that has ended is started.
    StartsEndedPart,
    /// The next attempt is due at once.
    RetriesAtOnce,
    /// A call gives a permit back that its process lost when it was presumed dead, in place of one that it holds.
    ReturnsLostPermits,
    /// A job keeps its unique key after its end.
    KeepsKey,
    /// A unique key is given to a job although another open job holds it.
    GrantsTakenKeys,
    /// A worker does not wait for a row that is due later.
    MissesDue,
    /// A process requeues a job that another process is running.
    GivesBackOthers,
    /// A row of the outbox is settled by an acknowledgement that belongs to an earlier time at which it was held.
    SettlesEarlierAcquisition,
    /// A job with running parts is presumed lost and sent again.
    SendsAgainUnseen,
    /// A workflow run that was cancelled and retried is presumed lost and sent again while it waits for its steps.
    SendsRunsAgain,
    /// The times of a schedule count from the moment at which a worker first sees it, not from its creation.
    CountsFromFirstTick,
    /// A message counts as held by its process although its channel was closed.
    KeepsLostDeliveries,
    /// A queue counts as empty if the broker cannot be asked how many messages wait in it.
    TakesUnknownForEmpty,
    /// No process looks for messages that the broker has lost.
    MissesLostMessages,
    /// A copy of a message runs while the first one is still running.
    RunsCopies,
    /// A row of the outbox that a store has lost the deletion of runs while a live process runs its job.
    RunsRowsAgain,
    /// A copy that replaced a delivery counts as a message that no worker has received.
    TakesCopiesForFirst,
    /// Each claim of a job counts as if a worker had died with it.
    CountsClaimsAsLosses,
    /// A process that claims a job again while it runs that job itself counts a lost call.
    LosesItsOwnCalls,
    /// A job below a cancelled one waits for an attempt that cannot start.
    RetriesInterrupted,
    /// A delivery that a worker does not complete is acknowledged.
    AcksInterrupted,
    /// A follower does not wait for the jobs that it follows.
    FollowsAtOnce,
    /// A process reports a missing part queue for hooks although another process has taken over their outbox row.
    ReportsHooksOfOthers,
    /// Hooks are not sent.
    ForgetsHooks,
    /// The record of a part counts as not written if its publisher confirm was lost.
    ForgetsDoubtfulRecord,
    /// A split that was superseded waits for the current run even if the process of that run is dead.
    WaitsForDeadRuns,
    /// A part that has waited for a permit is also started by the message that was delivered before.
    StartsWaitedParts,
    /// A split is claimed before it waits until no work runs alone in its process.
    ClaimsWaitingSplits,
    /// A call that one more loss would fail runs beside other calls.
    RunsSuspectsBesideOthers,
    /// A split that one more loss would fail runs beside other calls.
    RunsSuspectSplitsBesideOthers,
    /// A batch of one delivery keeps all slots that were taken for the batch until its call has ended.
    KeepsSlotsOfBatch,
    /// A message that a worker without a store cannot run keeps its slot until it is requeued.
    DeclinesUnderSlot,
    /// A redelivered message keeps its slot while it waits for its first call to end.
    HoldsSlotForTurn,
    /// A job that arrives both as a whole job and as a single item runs twice at the same time.
    SeparatesItemsFromJobs,
    /// A redelivered message keeps its delivery for as long as it waits for its first call to end.
    KeepsDeliveryForTurn,
    /// A message that was lost too often waits for a slot before it fails.
    WaitsToFail,
    /// A delivery runs although its channel was closed while it waited.
    RunsLostDeliveries,
    /// No hooks are sent for a storeless job that failed because its workers died too often.
    FollowsNothingLost,
    /// A job fails if the broker closes the channel on which its message is published.
    GivesUpClosedChannels,
    /// A message without a publisher confirm counts as sent.
    ForgetsUnconfirmed,
    /// A part of an older epoch is run.
    RunsOldParts,
    /// A join starts before the last part has ended.
    JoinsEarly,
    /// A job ends before the jobs below it.
    EndsBeforeChildren,
    /// A timeout is not applied.
    NeverTimesOut,
    /// A heartbeat does not list the jobs that its process is running.
    ReportsNothingRunning,
    /// Long work is never leased: its delivery is not acknowledged before its end.
    NeverLeases,
    /// Long work is acknowledged without a lease that replaces its message.
    LeasesNothing,
    /// Jobs are removed as soon as they have ended, without any retention.
    RemovesTooEarly,
    /// A process without a heartbeat holds rows.
    HoldsUnseen,
    /// An outdated heartbeat alone is taken as proof that its process is dead.
    JudgesByHeartbeatAlone,
    /// A worker keeps deliveries for which it has no slot.
    HoardsWork,
    /// A step of a workflow starts before the steps that it needs have ended.
    BeginsTasksEarly,
    /// The output of a step does not reach the steps that need it.
    GivesNoOutputs,
    /// A schedule starts a job while its last one is running, although overlaps are to be skipped.
    StartsBesideLast,
    /// No hooks are sent for a storeless job with an unknown task.
    FollowsNothingRefused,
    /// A set of parts whose hooks were sent is reported as a set without a queue.
    ReportsFollowedSets,
    /// The end of a job is not published as an event.
    PublishesNoEnd,
    /// A large output is removed although its job exists.
    RemovesObjectsInUse,
    /// The relay publishes what it found in the outbox before what this process wrote earlier.
    SendsFoundRowsFirst,
    /// An incomplete set of parts is not checked again.
    ForgetsOpenSets,
    /// A worker that has to stop still checks sets of parts, although it would not call their join.
    LooksWhileDraining,
    /// A reader puts its own record back although it belongs to an abandoned run of the split.
    PutsBackStaleRecord,
    /// A reader puts its own record back beside a record with another outcome of the same part.
    PutsBackSecondOutcome,
    /// Without a store, a delivery that a worker requeues counts as lost, even if hardly any losses are allowed.
    CountsRequeuedWork,
    /// Without a store, an outcome is not sent again if the broker did not confirm it.
    SendsOutcomeOnce,
    /// A worker whose store is damaged continues to work.
    IgnoresDamage,
    /// The end of a call is not recorded if the store is read-only at that moment, and its delivery is requeued.
    RequeuesReadOnly,
    /// The end of a call is not recorded if the store is unavailable at that moment, and its delivery is requeued.
    RequeuesUnavailable,
    /// No operation waits for the disk.
    WaitsForNoDisk,
    /// A settlement that changes nothing, as it was carried out before, does not release its permit.
    KeepsPermitOfStale,
    /// All values of the key of a limit share its permits.
    SharesPermitsOfKeys,
    /// Jobs that are submitted together are committed one by one.
    SubmitsOneByOne,
    /// No progress is written after a report that could not be written.
    StopsReports,
    /// The event of a progress report has the number of the attempt since the last retry of its job.
    CountsProgressAlone,
    /// The retry of one part retries all parts.
    RetriesAllParts,
    /// A unique key is taken over from an active job.
    TakesOverActive,
    /// A schedule that is paused fires once more.
    FiresWhilePaused,
    /// A worker takes work that it has parked as soon as that is due.
    TakesParkedAgain,
    /// An input that was made for another version of its task fails.
    FailsParked,
    /// A worker takes rows of tasks that its program does not have.
    TakesUnknownTasks,
    /// Without a store, work that waits for its next attempt is requeued if no slot is free for a long time.
    RequeuesRetries,
}

#[cfg(feature = "_mutants")]
mod switch {
    use std::cell::Cell;

    use crate::mutant::Mutant;

    std::thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Turns on a mutant on this thread, or turns off the current one.
    pub fn put_back(mutant: Option<Mutant>) {
        ON.set(mutant);
    }

    pub fn is_on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }
}

#[cfg(feature = "_mutants")]
pub use switch::is_on;
#[cfg(feature = "_mutants")]
pub use switch::put_back;

#[cfg(not(feature = "_mutants"))]
pub const fn is_on(_mutant: Mutant) -> bool {
    false
}
