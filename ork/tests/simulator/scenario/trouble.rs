//! The troubles of a scenario, as plain data. `docs/simulator.md` has the steps to add a kind.

use serde::{Deserialize, Serialize};

use super::foreign::Foreign;
use super::{QueueKind, StoreKind};
use crate::dice::Dice;

/// The shortest consumer timeout, in milliseconds: with a shorter one, hardly any call would end in time.
pub(super) const SHORTEST_TIMEOUT: u64 = 1_000;

/// How a worker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ends {
    Dies,
    Drains,
    Stops,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) enum Trouble {
    /// A worker dies, and is restarted.
    Crash { worker: usize, back: u64 },
    /// A worker is frozen for a while, and resumes.
    Freeze { worker: usize, lasts: u64 },
    /// All processes are frozen for a while, as when their computer sleeps.
    Sleep { lasts: u64 },
    /// A worker receives one stop signal, and is restarted.
    Drain { worker: usize, back: u64 },
    /// A worker receives two stop signals.
    Stop { worker: usize, back: u64 },
    /// The clock of a worker is set.
    Turn { worker: usize, by: i64 },
    /// A worker ends in the middle of a transaction, which is committed but not confirmed yet. `after` transactions of
    /// the worker go before that one.
    InCommit { worker: usize, after: u64, what: Ends },
    /// The store responds late, by up to `most` milliseconds.
    Late { most: u64, lasts: u64 },
    /// Every second transaction is rolled back after it was carried out, and carried out again.
    Conflicts { lasts: u64 },
    /// The store refuses all writes.
    NoSpace { lasts: u64 },
    /// The server of the store restarts, without the last transactions that were not to survive that.
    Undone { lasts: u64 },
    /// The server is out of reach. Commits are confirmed late, or not before their process dies; those that have waited
    /// for ten seconds are reported as failed, although some of them were carried out.
    Doubt { lasts: u64 },
    /// Another program keeps a transaction open. Writes to a file wait for it; on a server, those of every second job.
    Locked { lasts: u64 },
    /// The store is read-only, such as a primary that has become a standby.
    ReadOnly { lasts: u64 },
    /// This percentage of all requests finds the store damaged.
    Damaged { percent: u64, lasts: u64 },
    /// A program of a newer version migrates the store. Workers are replaced at the end of this time; until then they
    /// cannot be restarted. If the migration `breaks` the old version, running workers find unknown tables meanwhile.
    Migrates { breaks: bool, lasts: u64 },
    /// The computer of all processes and of the file loses power, and is restarted after a while.
    PowerLoss { back: u64 },
    /// A client dies, and is restarted.
    ClientDies { client: usize, back: u64 },
    /// A client is frozen for a while, and resumes.
    ClientFreezes { client: usize, lasts: u64 },
    /// The object store refuses everything, and carries out half of it all the same.
    Objects { lasts: u64 },
    /// The connection of a worker, or of all processes, to the broker is cut, and cannot be made again for a while.
    Cut { worker: Option<usize>, lasts: u64 },
    /// The broker closes the channels of a worker.
    Channels { worker: usize },
    /// The broker cancels all consumers, and answers no request to consume for a while, as when queues move to another
    /// node.
    Cancels { lasts: u64 },
    /// The connection of a worker, or of all processes, has no free channel number, and the broker accepts no other
    /// connection for a while. What has a channel continues to use it.
    NoChannels { worker: Option<usize>, lasts: u64 },
    /// The broker closes the channel of every second publish of a worker, or of all processes.
    Publishers { worker: Option<usize>, lasts: u64 },
    /// The broker closes a channel with a delivery that was not acknowledged for `longest` milliseconds.
    Timeout { longest: u64, lasts: u64 },
    /// The broker responds late, by up to `most` milliseconds.
    SlowBroker { most: u64, lasts: u64 },
    /// The broker reads nothing from publishers.
    Blocks { lasts: u64 },
    /// The queues refuse messages.
    Full { lasts: u64 },
    /// Another program publishes up to `most` waiting messages of each queue a second time.
    Doubles { most: usize },
    /// Another program takes up to `most` waiting messages of each queue, and requeues or keeps them.
    Stranger { most: usize, lasts: u64, keeps: bool },
    /// Another program takes up to `most` records out of each part queue, and requeues them later.
    Holds { most: usize, lasts: u64 },
    /// Another program publishes something.
    Foreign(Foreign),
    /// All waiting messages are removed.
    Purge,
    /// Another node of the broker takes over, which does not have the newest messages of each queue.
    Failover { most: usize, lasts: u64 },
    /// Messages that have waited for `longest` milliseconds are removed.
    Expires { longest: u64, lasts: u64 },
    /// An administrator deletes all work queues, with their messages and bindings. Processes declare them again.
    Deletes,
    /// Queues keep at most `most` waiting messages, and drop the oldest ones beyond that, as a policy demands.
    DropsOldest { most: usize, lasts: u64 },
    /// The store refuses everything, for one worker or for all.
    Refuses { worker: Option<usize>, lasts: u64 },
}

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Crash,
    Freeze,
    Drain,
    Stop,
    Turn,
    Late,
    Refuses,
    InCommit,
    Sleep,
    Conflicts,
    NoSpace,
    Undone,
    Doubt,
    Objects,
    Locked,
    ReadOnly,
    Damaged,
    Migrates,
    PowerLoss,
    ClientDies,
    ClientFreezes,
    Cut,
    Channels,
    Cancels,
    NoChannels,
    Publishers,
    Timeout,
    SlowBroker,
    Blocks,
    Full,
    Doubles,
    Foreign,
    Holds,
    Purge,
    Failover,
    Stranger,
    Expires,
    Deletes,
    DropsOldest,
}

/// The component that a trouble affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Processes,
    Store,
    Broker,
}

impl Kind {
    /// The troubles of processes and of the store. Each run draws which of them it has; appending one changes what all
    /// seeds generate.
    const USUAL: [Self; 21] = [
        Self::Crash,
        Self::Freeze,
        Self::Drain,
        Self::Stop,
        Self::Turn,
        Self::Late,
        Self::Refuses,
        Self::InCommit,
        Self::Sleep,
        Self::Conflicts,
        Self::NoSpace,
        Self::Undone,
        Self::Doubt,
        Self::Objects,
        Self::Locked,
        Self::ReadOnly,
        Self::Damaged,
        Self::Migrates,
        Self::PowerLoss,
        Self::ClientDies,
        Self::ClientFreezes,
    ];

    /// The troubles of a broker. Connections are cut twice as often as anything else happens.
    const OF_BROKER: [Self; 13] = [
        Self::Cut,
        Self::Cut,
        Self::Channels,
        Self::SlowBroker,
        Self::Blocks,
        Self::Full,
        Self::Doubles,
        Self::Foreign,
        Self::Holds,
        Self::Cancels,
        Self::NoChannels,
        Self::Publishers,
        Self::Timeout,
    ];

    /// The troubles of a broker that lose messages, or may.
    const LOSING: [Self; 6] =
        [Self::Purge, Self::Failover, Self::Stranger, Self::Expires, Self::Deletes, Self::DropsOldest];

    pub(crate) const fn place(self) -> Place {
        match self {
            Self::Crash
            | Self::Freeze
            | Self::Drain
            | Self::Stop
            | Self::Turn
            | Self::Sleep
            | Self::ClientDies
            | Self::ClientFreezes => Place::Processes,
            Self::Late
            | Self::Refuses
            | Self::InCommit
            | Self::Conflicts
            | Self::NoSpace
            | Self::Undone
            | Self::Doubt
            | Self::Objects
            | Self::Locked
            | Self::ReadOnly
            | Self::Damaged
            | Self::Migrates
            | Self::PowerLoss => Place::Store,
            Self::Cut
            | Self::Channels
            | Self::Cancels
            | Self::NoChannels
            | Self::Publishers
            | Self::Timeout
            | Self::SlowBroker
            | Self::Blocks
            | Self::Full
            | Self::Doubles
            | Self::Foreign
            | Self::Holds
            | Self::Purge
            | Self::Failover
            | Self::Stranger
            | Self::Expires
            | Self::Deletes
            | Self::DropsOldest => Place::Broker,
        }
    }

    /// Returns whether the processes of this store can meet it. The processes of a file share the clock of their
    /// computer, and end with it; none of them loses the reply to a commit. A client without a store that ends cannot
    /// learn what has become of its jobs.
    pub(crate) fn is_possible_with(self, store: StoreKind) -> bool {
        match store {
            StoreKind::Server => self != Self::PowerLoss,
            StoreKind::File => !matches!(self, Self::Turn | Self::Undone),
            StoreKind::None => self.place() != Place::Store && self != Self::ClientDies,
        }
    }
}

/// Draws the usual kinds of a run: each run leaves out some, so that they do not always mask one another.
pub(super) fn usual_kinds(dice: &mut Dice) -> Vec<Kind> {
    Kind::USUAL.into_iter().filter(|_| dice.percent(60)).collect()
}

/// All kinds of a run with this broker and this store; the usual kinds have been drawn.
pub(super) fn kinds(dice: &mut Dice, usual: Vec<Kind>, broker: Option<QueueKind>, store: StoreKind) -> Vec<Kind> {
    let mut kinds = usual;
    if broker.is_some() {
        kinds.extend(Kind::OF_BROKER.into_iter().filter(|_| dice.percent(50)));
        // It takes long to detect lost messages.
        if dice.percent(25) && store != StoreKind::None {
            kinds.extend(Kind::LOSING);
            // If the removal of a row of the outbox is undone, a lost message of it is not detected.
            kinds.retain(|kind| *kind != Kind::Undone);
        }
    }
    kinds.retain(|kind| kind.is_possible_with(store));
    kinds
}

impl Trouble {
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Crash { .. } => Kind::Crash,
            Self::Freeze { .. } => Kind::Freeze,
            Self::Sleep { .. } => Kind::Sleep,
            Self::Drain { .. } => Kind::Drain,
            Self::Stop { .. } => Kind::Stop,
            Self::Turn { .. } => Kind::Turn,
            Self::InCommit { .. } => Kind::InCommit,
            Self::Late { .. } => Kind::Late,
            Self::Conflicts { .. } => Kind::Conflicts,
            Self::NoSpace { .. } => Kind::NoSpace,
            Self::Undone { .. } => Kind::Undone,
            Self::Doubt { .. } => Kind::Doubt,
            Self::Objects { .. } => Kind::Objects,
            Self::Locked { .. } => Kind::Locked,
            Self::ReadOnly { .. } => Kind::ReadOnly,
            Self::Damaged { .. } => Kind::Damaged,
            Self::Migrates { .. } => Kind::Migrates,
            Self::PowerLoss { .. } => Kind::PowerLoss,
            Self::ClientDies { .. } => Kind::ClientDies,
            Self::ClientFreezes { .. } => Kind::ClientFreezes,
            Self::Cut { .. } => Kind::Cut,
            Self::Channels { .. } => Kind::Channels,
            Self::Cancels { .. } => Kind::Cancels,
            Self::NoChannels { .. } => Kind::NoChannels,
            Self::Publishers { .. } => Kind::Publishers,
            Self::Timeout { .. } => Kind::Timeout,
            Self::SlowBroker { .. } => Kind::SlowBroker,
            Self::Blocks { .. } => Kind::Blocks,
            Self::Full { .. } => Kind::Full,
            Self::Doubles { .. } => Kind::Doubles,
            Self::Stranger { .. } => Kind::Stranger,
            Self::Holds { .. } => Kind::Holds,
            Self::Foreign(_) => Kind::Foreign,
            Self::Purge => Kind::Purge,
            Self::Failover { .. } => Kind::Failover,
            Self::Expires { .. } => Kind::Expires,
            Self::Deletes => Kind::Deletes,
            Self::DropsOldest { .. } => Kind::DropsOldest,
            Self::Refuses { .. } => Kind::Refuses,
        }
    }

    /// Returns whether it is a trouble of a broker.
    pub(crate) fn is_of_broker(&self) -> bool {
        self.kind().place() == Place::Broker
    }

    /// The worker that it affects, if it affects one.
    pub(crate) const fn worker(&self) -> Option<usize> {
        match self {
            Self::Crash { worker, .. }
            | Self::Freeze { worker, .. }
            | Self::Drain { worker, .. }
            | Self::Stop { worker, .. }
            | Self::Turn { worker, .. }
            | Self::InCommit { worker, .. }
            | Self::Channels { worker } => Some(*worker),
            Self::Cut { worker, .. }
            | Self::Refuses { worker, .. }
            | Self::NoChannels { worker, .. }
            | Self::Publishers { worker, .. } => *worker,
            Self::Sleep { .. }
            | Self::Late { .. }
            | Self::Conflicts { .. }
            | Self::NoSpace { .. }
            | Self::Undone { .. }
            | Self::Doubt { .. }
            | Self::Objects { .. }
            | Self::Locked { .. }
            | Self::ReadOnly { .. }
            | Self::Damaged { .. }
            | Self::Migrates { .. }
            | Self::PowerLoss { .. }
            | Self::ClientDies { .. }
            | Self::ClientFreezes { .. }
            | Self::SlowBroker { .. }
            | Self::Blocks { .. }
            | Self::Full { .. }
            | Self::Doubles { .. }
            | Self::Stranger { .. }
            | Self::Holds { .. }
            | Self::Foreign(_)
            | Self::Purge
            | Self::Failover { .. }
            | Self::Expires { .. }
            | Self::Cancels { .. }
            | Self::Timeout { .. }
            | Self::Deletes
            | Self::DropsOldest { .. } => None,
        }
    }

    /// The client that it affects, if it affects one.
    pub(crate) const fn client(&self) -> Option<usize> {
        match self {
            Self::ClientDies { client, .. } | Self::ClientFreezes { client, .. } => Some(*client),
            _ => None,
        }
    }

    /// Returns whether it makes the broker lose confirmed messages.
    pub(crate) fn loses_messages(&self) -> bool {
        match self {
            Self::Stranger { keeps, .. } => *keeps,
            other => Kind::LOSING.contains(&other.kind()),
        }
    }

    /// How many milliseconds it lasts.
    pub(crate) fn lasts(&self) -> u64 {
        let is_ended_by_start =
            matches!(self.kind(), Kind::Crash | Kind::Drain | Kind::Stop | Kind::PowerLoss | Kind::ClientDies);
        if is_ended_by_start { 0 } else { self.clone().span_mut().map_or(0, |span| *span) }
    }

    /// For how many milliseconds it lasts, or after how many a worker is restarted.
    pub(crate) const fn span_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Crash { back: span, .. }
            | Self::Drain { back: span, .. }
            | Self::Stop { back: span, .. }
            | Self::PowerLoss { back: span }
            | Self::ClientDies { back: span, .. }
            | Self::ClientFreezes { lasts: span, .. }
            | Self::Locked { lasts: span }
            | Self::ReadOnly { lasts: span }
            | Self::Damaged { lasts: span, .. }
            | Self::Migrates { lasts: span, .. }
            | Self::Freeze { lasts: span, .. }
            | Self::Sleep { lasts: span }
            | Self::Late { lasts: span, .. }
            | Self::Conflicts { lasts: span }
            | Self::NoSpace { lasts: span }
            | Self::Undone { lasts: span }
            | Self::Doubt { lasts: span }
            | Self::Objects { lasts: span }
            | Self::Cut { lasts: span, .. }
            | Self::SlowBroker { lasts: span, .. }
            | Self::Blocks { lasts: span }
            | Self::Full { lasts: span }
            | Self::Stranger { lasts: span, .. }
            | Self::Holds { lasts: span, .. }
            | Self::Failover { lasts: span, .. }
            | Self::Expires { lasts: span, .. }
            | Self::Cancels { lasts: span }
            | Self::NoChannels { lasts: span, .. }
            | Self::Publishers { lasts: span, .. }
            | Self::Timeout { lasts: span, .. }
            | Self::DropsOldest { lasts: span, .. }
            | Self::Refuses { lasts: span, .. } => Some(span),
            Self::Turn { .. }
            | Self::InCommit { .. }
            | Self::Channels { .. }
            | Self::Doubles { .. }
            | Self::Foreign(_)
            | Self::Deletes
            | Self::Purge => None,
        }
    }
}
