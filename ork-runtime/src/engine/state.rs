//! The state of an engine: its ports, its settings, and what it keeps in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::batch_sizer::BatchSizer;
use super::call_times::Calls;
use super::held_deliveries::Held;
use super::inflight::InFlight;
use super::inputs::Inputs;
use super::large_outputs::Large;
use super::leases::Leases;
use super::metrics_buffer::{MetricsBuffer, MetricsReceiver};
use super::outbox::{Outbox, OutboxReceiver};
use super::part_sets::Sets;
use super::progress::{ProgressReceiver, Reports};
use super::queue_activity::Idle;
use super::running_calls::Running;
use super::slots::Slots;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::clock::shared::SharedClock;
use crate::entropy::Entropy;
use crate::event::EventScope;
use crate::executor::Executor;
use crate::id::WorkerId;
use crate::message::Limits;
use crate::registry::Registry;
use crate::runtime::Runtime;
use crate::store::Store;
use crate::task::state::States;
use crate::tx::Actor;

/// The settings of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// How many `async fn` tasks run at once.
    pub concurrency: usize,
    /// How many `fn` tasks run at once.
    pub blocking: usize,
    /// How many parts a split appends in one transaction.
    pub page: usize,
    /// How many workers may die during one attempt before it fails as lost.
    pub losses: u32,
    /// How long a cancelled call may still run before it is dropped.
    pub grace: Duration,
    /// How long a delivery may stay unacknowledged before it is acknowledged and its work gets a lease.
    pub ack_within: Duration,
    /// The folder with the files of workflows; `None` for the paths in their plans.
    pub workflows: Option<PathBuf>,
    /// How long jobs are kept after their end; `None` for ever.
    pub retention: Option<Duration>,
    /// Which events are published.
    pub events: EventScope,
    /// The limits on bodies of messages.
    pub limits: Limits,
}

/// The state that processing a delivery needs.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) registry: Arc<Registry>,
    pub(crate) states: States,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    /// Runs functions in other languages; `None` if this program runs none.
    pub(crate) executor: Option<Arc<dyn Executor>>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Tells the time of the store if that has its own clock: it is the same as `store_clock`.
    pub(crate) clock: Arc<dyn Clock>,
    /// The clock as the store adjusts it.
    pub(crate) store_clock: Arc<SharedClock>,
    pub(crate) worker: WorkerId,
    pub(crate) settings: Settings,
    pub(crate) large: Large,
    pub(crate) slots: Slots,
    pub(crate) leases: Leases,
    pub(crate) calls: Calls,
    pub(super) inputs: Inputs,
    pub(crate) outbox: Outbox,
    pub(crate) running: Running,
    pub(crate) held: Held,
    pub(crate) idle: Idle,
    pub(crate) sets: Sets,
    pub(super) inflight: InFlight,
    pub(super) batch_sizer: BatchSizer,
    pub(crate) reports: Reports,
    pub(crate) metrics: MetricsBuffer,
    /// Cancelled when the worker starts no more calls; running calls go on.
    pub(crate) drain: CancellationToken,
    /// Cancelled when running calls must stop.
    pub(crate) force: CancellationToken,
    /// Cancelled when the state of the store is unknown: the process must end.
    pub(crate) fatal: CancellationToken,
}

/// The tasks, ports and settings of an engine.
pub(crate) struct Setup {
    pub(crate) registry: Arc<Registry>,
    pub(crate) states: States,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) executor: Option<Arc<dyn Executor>>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Arc<SharedClock>,
    pub(crate) worker: WorkerId,
    pub(crate) settings: Settings,
    pub(crate) large: Large,
}

/// The receivers of what an engine sends to the background services.
pub(crate) struct Receivers {
    pub(crate) outbox: OutboxReceiver,
    pub(crate) progress: ProgressReceiver,
    pub(crate) metrics: MetricsReceiver,
}

impl Engine {
    /// Creates an engine, and the receivers of what it sends to the background services.
    pub(crate) fn new(setup: Setup) -> (Self, Receivers) {
        let Setup { registry, states, store, broker, executor, runtime, entropy, clock, worker, settings, large } =
            setup;
        let (outbox, to_send) = Outbox::new();
        let (reports, progress) = Reports::new();
        let (metrics, to_write) = MetricsBuffer::new();
        let engine = Self {
            registry,
            states,
            store,
            broker,
            executor,
            runtime,
            entropy,
            clock: Arc::<SharedClock>::clone(&clock),
            store_clock: clock,
            worker,
            slots: Slots::new(settings.concurrency, settings.blocking),
            settings,
            large,
            leases: Leases::default(),
            calls: Calls::default(),
            inputs: Inputs::default(),
            outbox,
            running: Running::default(),
            held: Held::default(),
            idle: Idle::default(),
            sets: Sets::default(),
            inflight: InFlight::default(),
            batch_sizer: BatchSizer::default(),
            reports,
            metrics,
            drain: CancellationToken::new(),
            force: CancellationToken::new(),
            fatal: CancellationToken::new(),
        };
        (engine, Receivers { outbox: to_send, progress, metrics: to_write })
    }

    /// Returns this process at the current time, for an operation of the store.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            worker: self.worker.clone(),
            now: self.clock.now(),
            hold: self.broker.needs_relay(),
            events: self.event_routing(),
        }
    }
}
