//! Faults that tests put back into this code, one at a time, to show that they find them.
//!
//! Each is a line beside the code that it falsifies. Without the private feature `_mutants` none is compiled in.

/// Defines the faults, and the list of all of them.
macro_rules! mutants {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A fault, by what it does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Mutant {
            $($(#[$doc])+ $name,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

// A new fault goes beside those of the same module, with a line that says what the falsified code does.
// `is_on` switches it on where that code stands, and `docs/simulator.md` has the steps that follow.
mutants! {
    /// A worker that was told to stop begins what it has claimed.
    BeginsAfterDrain,
    /// An `fn` is called that was cancelled while it waited for its thread.
    BeginsAfterWait,
    /// A message that comes again is begun beside its first call.
    TakesNoTurn,
    /// A running call hears nothing of the end of its job.
    GoesOnAfterCancel,
    /// The clock is not set right by the store's.
    BelievesOwnClock,
    /// A sign of life that comes late looks at the others as they are now.
    JudgesLate,
    /// The next sign of life is due so long after the last one was answered.
    CountsBeatsFromAnswer,
    /// The heart stops at the first sign of life that cannot be written.
    HeartStops,
    /// A client does not ask when it only hears that something happened.
    IgnoresElsewhere,
    /// What was given back to the store counts as done.
    ForgetsReleased,
    /// A settlement gives no permit back.
    KeepsPermit,
    /// A permit that is given back wakes nobody.
    WakesNobody,
    /// A permit is taken though all are.
    OverdrawsPermits,
    /// An attempt that is not the current one is settled.
    SettlesOldAttempt,
    /// A job is claimed that has ended.
    ClaimsEnded,
    /// A part is started that has ended.
    StartsEndedPart,
    /// The next attempt is due at once.
    RetriesAtOnce,
    /// A key stays with a job that has ended.
    KeepsKey,
    /// What is due later is not waited for.
    MissesDue,
    /// A process releases a job that another one is running.
    GivesBackOthers,
    /// A row of the outbox is settled by receipts of an earlier taking.
    SettlesOldTaking,
    /// A job whose parts are running is sent again as lost.
    SendsAgainUnseen,
    /// A run that was cancelled and retried is sent again as lost while it waits for its tasks.
    SendsRunsAgain,
    /// The times of a schedule count from when a worker first sees it.
    CountsFromFirstTick,
    /// Nothing looks for messages that the broker has lost.
    MissesLostMessages,
    /// A copy of a message is run beside the first one.
    RunsCopies,
    /// Each claim of a job counts as if a worker had died with it.
    CountsClaimsAsLosses,
    /// A job below one that was interrupted waits for an attempt that cannot begin.
    RetriesInterrupted,
    /// What a worker does not bring to its end is acknowledged.
    AcksInterrupted,
    /// A job that follows others does not wait for them.
    FollowsAtOnce,
    /// What follows a job is not sent.
    ForgetsHooks,
    /// The record of a part whose confirm was lost counts as not written.
    ForgetsDoubtfulRecord,
    /// A message that comes again keeps its slot while it waits for its first call.
    HoldsSlotForTurn,
    /// A job that comes as a whole and as an item is run twice at once.
    TellsItemsFromWholes,
    /// What was lost too often waits for a slot before it fails.
    WaitsToFail,
    /// A delivery is run that was lost with its channel while it waited.
    RunsLostDeliveries,
    /// Nothing follows a job without a store that was lost with its workers too often.
    FollowsNothingLost,
    /// A message that was not confirmed counts as sent.
    ForgetsUnconfirmed,
    /// A part of an earlier run of the split is run.
    RunsOldParts,
    /// A join begins before the last part has ended.
    JoinsEarly,
    /// A job ends before those below it.
    EndsBeforeChildren,
    /// A call may take as long as it likes.
    NeverTimesOut,
    /// A sign of life does not say what its process runs.
    SaysNothingRuns,
    /// Long work is acknowledged, and nothing takes the place of its message.
    LeasesNothing,
    /// Jobs are removed as soon as they have ended.
    RemovesTooEarly,
    /// A process without a heartbeat holds rows.
    HoldsUnseen,
    /// An outdated heartbeat alone proves that its process is dead.
    JudgesBySign,
    /// A worker keeps work for which it has no slot.
    HoardsWork,
    /// A task of a workflow begins before those that it needs have ended.
    BeginsTasksEarly,
    /// What a task of a workflow returned does not reach the next one.
    GivesNoOutputs,
    /// A schedule starts something beside what it has started before, and may not.
    StartsBesideLast,
    /// Nothing follows a job without a store whose task is unknown.
    FollowsNothingRefused,
    /// A set that was followed is reported as one without a queue.
    ReportsFollowedSets,
    /// The end of a job is no event.
    TellsNoEnd,
    /// A large output is removed whose job is there.
    RemovesObjectsInUse,
    /// A set of parts that is not complete is not looked at again.
    ForgetsOpenSets,
}

#[cfg(feature = "_mutants")]
mod switch {
    use std::cell::Cell;

    use crate::mutant::Mutant;

    std::thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Puts a fault back on this thread, or none.
    pub fn put_back(mutant: Option<Mutant>) {
        ON.set(mutant);
    }

    pub(crate) fn is_on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }
}

#[cfg(feature = "_mutants")]
pub(crate) use switch::is_on;
#[cfg(feature = "_mutants")]
pub use switch::put_back;

#[cfg(not(feature = "_mutants"))]
pub(crate) const fn is_on(_mutant: Mutant) -> bool {
    false
}
