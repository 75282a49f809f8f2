//! The names of the properties that are checked, and of the situations that must be reached. `docs/simulator.md` has
//! the steps to add one.

use serde::{Deserialize, Serialize};

/// Defines an enum whose values have names, with a list of all values.
macro_rules! names {
    ($(#[$about:meta])+ $kind:ident { $($(#[$doc:meta])+ $value:ident = $name:literal,)+ }) => {
        $(#[$about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub(crate) enum $kind {
            $($(#[$doc])+ #[serde(rename = $name)] $value,)+
        }

        impl $kind {
            /// All values.
            pub(crate) const ALL: &[Self] = &[$(Self::$value,)+];

            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

names! {
    /// A property that must hold in every run. `docs/guarantees.md` names each beside its promise.
    Property {
        /// A call that has returned is not repeated.
        Again = "again",
        /// A call that one more loss would fail has no others beside it.
        Alone = "alone",
        /// A client receives what the functions returned, and every client gets a reply.
        Client = "client",
        /// A worker that cannot record the end of a call, as the store is damaged, stops.
        Damage = "damage",
        /// No message of ork is dead-lettered.
        DeadLetters = "dead letters",
        /// No call starts after its process was asked to stop.
        Drained = "drained",
        /// No attempt starts before it is due.
        Early = "early",
        /// The code under test logs nothing with the level `ERROR`.
        Error = "error",
        /// The events about a job arrive in order, and its end is published.
        Events = "events",
        /// No worker stops by itself.
        Failed = "failed",
        /// A task of a workflow starts after the tasks that it needs.
        Flow = "flow",
        /// No job starts before the jobs that it follows have ended.
        Follower = "follower",
        /// Each follower of a job is submitted once.
        Followers = "followers",
        /// A task of a workflow receives what the tasks before it returned.
        Given = "given",
        /// No worker keeps work without a slot while another worker has one.
        Hoards = "hoards",
        /// A job waits for a permit only while none is free.
        Idle = "idle",
        /// Nothing is retried below a job that was cancelled.
        Interrupted = "interrupted",
        /// No job is removed before its time.
        Kept = "kept",
        /// A client learns of the end of a job in time.
        Late = "late",
        /// No row is left in the outbox.
        Left = "left",
        /// Nothing of a process runs after its shutdown.
        LeftRunning = "left running",
        /// Every job ends, and every client learns of it.
        Liveness = "liveness",
        /// Time advances.
        Loop = "loop",
        /// No job is failed as lost for fewer lost calls than `max_worker_losses`.
        Losses = "losses",
        /// No large output is removed that a row refers to.
        Objects = "objects",
        /// The end of a job is recorded once.
        Once = "once",
        /// A client never sees an older status after a newer one.
        Order = "order",
        /// The end of a job is the one that its functions determine.
        Outcome = "outcome",
        /// No call continues after its time limit.
        Overtime = "overtime",
        /// The retry of one part leaves the other parts as they are.
        Parts = "parts",
        /// No more calls run at once than a limit permits.
        Permits = "permits",
        /// No process is presumed dead that was not silent.
        PresumedDead = "presumed dead",
        /// A progress report is soon in the store.
        Progress = "progress",
        /// No message and no part queue is left.
        Queues = "queues",
        /// Something happens as long as a job is open.
        Quiet = "quiet",
        /// No call continues long after the end of its job.
        RunsOn = "runs on",
        /// A schedule starts one job for each of its times, and none before that time.
        Schedule = "schedule",
        /// No active job loses its unique key to another one.
        Stale = "stale",
        /// No job is sent again unless the broker has lost its message.
        SentAgain = "sent again",
        /// No heartbeat is missed without a cause.
        Silent = "silent",
        /// A slot that is taken is that of a call, and every call has one.
        Slots = "slots",
        /// No call starts after its process has learned of the end of its job.
        CallAfterEnd = "call after end",
        /// Jobs that are submitted together are all there, or none of them.
        Together = "together",
        /// Two calls of one attempt overlap only for the allowed reasons.
        Twice = "twice",
        /// A unique key is refused only while a job holds it.
        Unique = "unique",
        /// A delivery is acknowledged if its call takes longer than `ack_timeout`.
        Unacknowledged = "unacknowledged",
        /// A job waits for what `why` reports.
        Why = "why",
        /// No process releases a job that another one has.
        WrongRelease = "wrong release",
    }
}

names! {
    /// A situation which shows that the seeds reach what they are made for.
    Reached {
        /// A client called `why`, and nothing changed meanwhile.
        WhyCompared = "reports of `why` compared",
        /// A client that waited for the outcome of a job without a store has received it.
        RepliesWithoutStore = "replies without a store",
        /// The connection was cut between a publish and its confirm.
        ConfirmsLost = "confirms lost",
        /// A call took so long that its message was acknowledged.
        AcknowledgedForLease = "deliveries acknowledged for a lease",
        /// A message was delivered again.
        Redelivered = "redeliveries",
        /// A client has received an event.
        EventsReceived = "events received",
        /// The followers of a job, or of a set, were compared with those that it must have.
        FollowersCompared = "followers compared",
        /// A job or a set without a store has ended, and all followers that it must have were seen.
        FollowedWithoutStore = "jobs and sets without a store that were followed",
        /// Retention removed a job before its client had read its end.
        RemovedWhileAwaited = "jobs removed while their client waits",
        /// A worker considered a message as lost.
        SentAgain = "jobs sent again whose message was lost",
        /// The broker has cancelled the consumer of a work queue.
        ConsumersCancelled = "consumers cancelled by the broker",
        /// The broker has cancelled the consumer of a part queue.
        ReadersCancelled = "readers of part queues cancelled by the broker",
        /// A message was lost with its work queue, or its delivery was.
        DeletedWithQueue = "messages deleted with their queues",
        /// A message was published while its queue did not exist.
        Unrouted = "messages that found no queue",
        /// A process could not open a channel.
        NoChannels = "channels that could not be opened",
        /// The broker has closed a channel during a publish.
        PublishersClosed = "publishing channels closed by the broker",
        /// A process has published messages again after another message had closed their channel.
        PublishedOneByOne = "messages published again one by one",
        /// The broker has closed a channel, as a delivery was not acknowledged in time.
        ConsumersTimedOut = "channels closed by the consumer timeout",
        /// A queue was longer than its policy permits.
        OldestDropped = "oldest messages dropped by a policy",
        /// A split has started to yield parts.
        Split = "jobs split",
        /// A schedule has started a job.
        StartedBySchedules = "jobs started by schedules",
        /// A job that had ended was retried.
        Reopened = "jobs retried after their end",
        /// A process has read an output that is stored outside of the store.
        ObjectsRead = "large outputs read",
        /// A process has removed an output that is stored outside of the store.
        ObjectsRemoved = "large outputs removed",
        /// The store has refused data.
        NotStorable = "outputs that the store cannot hold",
        /// A function has terminated its process.
        EndedByTask = "processes ended by their tasks",
        /// A heartbeat has found another process silent for 15 seconds.
        PresumedDead = "processes presumed dead",
        /// Another program has taken records out of a part queue.
        RecordsHeld = "records of part queues held by others",
        /// A part queue has refused a record.
        RecordsTooLarge = "records that are too large",
        /// A run with events is over, and the events were compared with the jobs.
        EndsPublished = "runs whose ends were all published",
        /// The server of the store has lost transactions.
        StoreRestarted = "restarts of the store that lost transactions",
        /// A worker has stopped as its store was damaged, or had tables that it does not know.
        StoppedByDamage = "workers stopped by a damaged store",
        /// A transaction was committed, but its caller got an error.
        InDoubt = "transactions carried out and reported as failed",
        /// An operation has waited for a lock for longer than it may.
        LockTimedOut = "operations that waited too long for a lock",
        /// A read-only store has refused a write.
        ReadOnly = "writes refused by a read-only store",
        /// A process could not start, as a newer version had migrated the store.
        TooNew = "starts refused as the store is too new",
        /// A computer has lost power, and transactions with it.
        PowerLost = "power failures that lost transactions",
        /// A client has died while it waited for a job.
        ClientDied = "clients that died while they waited for a job",
        /// As many calls run as a limit permits.
        LimitUsed = "limits whose permits are all taken",
        /// Jobs that were submitted together were compared with what must have become of them.
        SubmittedTogether = "jobs submitted together that were compared",
        /// A progress report was compared with the store.
        ProgressCompared = "progress reports compared",
        /// A job has taken over the unique key of an inactive one.
        TakenOver = "unique keys taken over",
        /// A client has retried one part of a job.
        PartRetried = "parts retried by clients",
        /// A worker has parked an input of another version.
        Parked = "inputs parked for another version",
        /// A schedule was paused and resumed.
        Paused = "schedules paused and resumed",
        /// A task of a workflow was called.
        StepsCalled = "tasks of workflows called",
        /// The store has carried out a transaction a second time.
        RolledBack = "transactions rolled back and carried out again",
    }
}

impl Reached {
    /// Returns whether the default seeds, and any other thousand of them, must reach it.
    pub(crate) const fn is_demanded(self) -> bool {
        // Whether a client is still waiting when its job is removed depends on a few seconds. A deleted queue is declared
        // again within milliseconds. Large outputs outlive their jobs by an hour, and few runs last that long.
        !matches!(self, Self::RemovedWhileAwaited | Self::Unrouted | Self::ObjectsRemoved)
    }
}
