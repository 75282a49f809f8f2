//! The state of an engine: its ports, its settings, and what it keeps in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::batch_sizer::BatchSizer;
use super::call_times::CallTimes;
use super::held_deliveries::HeldDeliveries;
use super::inflight::InFlight;
use super::inputs::Inputs;
use super::large_outputs::LargeOutputs;
use super::leases::Leases;
use super::metrics_buffer::{MetricsBuffer, MetricsReceiver};
use super::outbox::{Outbox, OutboxReceiver};
use super::part_sets::PartSets;
use super::progress::{ProgressReceiver, Reports};
use super::queue_activity::ConsumedQueues;
use super::running_calls::RunningCalls;
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
    /// The number of `async fn` tasks that run at once.
    pub concurrency: usize,
    /// The number of `fn` tasks that run at once.
    pub blocking_concurrency: usize,
    /// The number of parts that a split appends in one transaction.
    pub split_page_size: usize,
    /// The number of workers that may die during one attempt before it fails as lost.
    pub max_worker_losses: u32,
    /// The time that a cancelled call may still run before it is dropped.
    pub cancel_grace: Duration,
    /// The time that a delivery may stay unacknowledged before it is acknowledged and its work gets a lease.
    pub ack_timeout: Duration,
    /// The folder with the files of workflows; `None` for the paths in their plans.
    pub workflows: Option<PathBuf>,
    /// The time for which jobs are kept after their end; `None` for ever.
    pub retention: Option<Duration>,
    /// The events that are published.
    pub events: EventScope,
    /// The limits on bodies of messages.
    pub limits: Limits,
}

/// The state that processing a delivery needs.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The tasks of this program, by name. They do not change while the process runs.
    pub(crate) registry: Arc<Registry>,
    /// The values that the program has given to the process. Tasks receive them as `State`.
    pub(crate) states: States,
    /// Records jobs and their parts. A store that is not durable records nothing: then work is storeless.
    pub(crate) store: Arc<dyn Store>,
    /// Delivers messages, and publishes those that the relay or a storeless job sends.
    pub(crate) broker: Arc<dyn Broker>,
    /// Runs programs and functions in other languages; `None` if this program runs none.
    pub(crate) executor: Option<Arc<dyn Executor>>,
    /// Spawns futures, and runs functions that block on threads of their own.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// The source of ids and random numbers.
    pub(crate) entropy: Arc<dyn Entropy>,
    /// The clock by which the engine reads the time and waits. It follows the clock of the store, if that has its own:
    /// it is the same as `store_clock`.
    pub(crate) clock: Arc<dyn Clock>,
    /// The same clock as `clock`, with the methods that adjust it. Each heartbeat corrects it by the time that the
    /// store returns.
    pub(crate) store_clock: Arc<SharedClock>,
    /// The id of this process: the name by which it appears in the store and in the log, and its boot id.
    pub(crate) worker: WorkerId,
    /// The settings, which do not change while the process runs.
    pub(crate) settings: Settings,
    /// The place where large outputs are stored, and the size beyond which an output is large.
    pub(crate) large: LargeOutputs,
    /// The slots for calls: one pool for `async fn`, one for `fn` and external programs.
    pub(crate) slots: Slots,
    /// The number of leases of this process. The broker no longer counts their deliveries, so the consumer reduces its
    /// prefetch window by this number.
    pub(crate) leases: Leases,
    /// The durations of the calls of each task since the consumer last read them. The consumer sizes its prefetch
    /// window by their mean.
    pub(crate) calls: CallTimes,
    /// A cache of the inputs and steps that messages inherit from their jobs, so that those of one job are read from
    /// the store once.
    pub(super) inputs: Inputs,
    /// Sends rows that this process holds, and events, to the relay.
    pub(crate) outbox: Outbox,
    /// The calls that run, each with the token that cancels it. An entry is removed when its call has ended.
    pub(crate) running: RunningCalls,
    /// The jobs of which this process holds deliveries that are not settled, with the number of their messages. The
    /// heartbeat reports these jobs.
    pub(crate) held: HeldDeliveries,
    /// The queues that this process consumes, and when each last delivered something. The heartbeat reports those that
    /// are empty.
    pub(crate) idle: ConsumedQueues,
    /// The part sets that were not complete when this process ended one of their parts. A service checks them again
    /// later, because a record that another program held at that moment was not counted.
    pub(crate) sets: PartSets,
    /// The calls in flight, by their work and attempt. A second delivery of the same call waits for the first one.
    pub(super) inflight: InFlight,
    /// The number of deliveries of each task that make a batch, learned from the durations of earlier batches and
    /// calls.
    pub(super) batch_sizer: BatchSizer,
    /// The newest progress of each job and part that is not written yet. A newer report replaces an older one.
    pub(crate) reports: Reports,
    /// The measurements that are not written yet. A service adds them to the metrics in the store.
    pub(crate) metrics: MetricsBuffer,
    /// Cancelled when the worker starts no more calls. Running calls go on.
    pub(crate) drain: CancellationToken,
    /// Cancelled when running calls must stop, and waits for the store or the broker must end.
    pub(crate) force: CancellationToken,
    /// Cancelled when the process cannot continue and must end, e.g. because the store is damaged.
    pub(crate) fatal: CancellationToken,
}

/// The tasks, ports and settings of an engine. Each is the field of [`Engine`] with the same name; `clock` is its
/// `store_clock`.
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
    pub(crate) large: LargeOutputs,
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
        let (outbox, receiver) = Outbox::new();
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
            slots: Slots::new(settings.concurrency, settings.blocking_concurrency),
            settings,
            large,
            leases: Leases::default(),
            calls: CallTimes::default(),
            inputs: Inputs::default(),
            outbox,
            running: RunningCalls::default(),
            held: HeldDeliveries::default(),
            idle: ConsumedQueues::default(),
            sets: PartSets::default(),
            inflight: InFlight::default(),
            batch_sizer: BatchSizer::default(),
            reports,
            metrics,
            drain: CancellationToken::new(),
            force: CancellationToken::new(),
            fatal: CancellationToken::new(),
        };
        (engine, Receivers { outbox: receiver, progress, metrics: to_write })
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
