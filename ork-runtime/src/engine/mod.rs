//! The engine: processes deliveries. Start reading at [`process`], which `worker::consume` calls.
//!
//! Each delivery is admitted (`admit`: what does it ask for, and is it its turn?), claimed (`claim`: is the work still
//! to be done?), performed (`perform`: the function is called) and settled (`settle`: the result is recorded, with what
//! follows). The result of each step is a value, and the disposition of the delivery follows from the last one. No step
//! calls `process` again: it returns what has to be processed once more. The engine knows the ports and no adapter.

mod action;
mod admit;
mod barrier;
pub(crate) mod batch;
mod batch_sizer;
mod call_info;
mod call_log;
mod call_times;
pub(crate) mod cancel;
mod canonical_json;
mod check;
mod claim;
mod commit;
mod custody;
mod duplicates;
mod dynamic_split;
pub(crate) mod events;
mod external;
pub(crate) mod fail;
mod held_deliveries;
pub(crate) mod hooks;
mod hydrate;
mod inflight;
mod inputs;
mod invoke;
mod join;
pub(crate) mod large_outputs;
mod late_reply;
mod lease;
mod leases;
mod limit;
mod make_parts;
mod metrics_buffer;
mod outbox;
mod outcome;
mod pages;
mod parked;
pub(crate) mod part_sets;
mod perform;
mod place;
mod process;
mod progress;
mod queue_activity;
mod reject;
pub(crate) mod retry;
mod running_calls;
#[cfg(feature = "workflow")]
pub(crate) mod scheduler;
pub(crate) mod services;
mod settle;
pub(crate) mod slots;
mod split;
mod state;
mod step;
pub(crate) mod storeless;
pub(crate) mod submit;
mod unstorable;
mod work;

pub(crate) use self::action::slot_needed;
pub(crate) use self::metrics_buffer::MetricsReceiver;
pub(crate) use self::outbox::{EventBatch, EventReceiver, OutboxReceiver, RowReceiver};
use self::outcome::{Done, ProcessError};
pub(crate) use self::process::{Spawn, process};
pub(crate) use self::progress::{ProgressReceiver, Report};
pub(crate) use self::state::{Engine, Receivers, Settings, Setup};
pub(crate) use self::work::Batch;
