//! The engine, the client and the worker of ork.
//!
//! Users depend on the crate `ork`, which adds the adapters and the command line; the items of this crate may change in
//! any release. The modules are listed in the order of their layers, and each of them depends only on its own layer and
//! those above it in the list. A good place to start reading is `engine::process`, which processes deliveries.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

// 0 model: the crate `ork-core`.
use ork_core::{barrier, hook, message, mutant, output, role, tx};
pub use ork_core::{event, failure, id, job, ledger, metric, policy, retry, tree, workflow_run};
// Ports, and the adapters that need no library of their own.
pub mod broker;
pub mod clock;
pub mod entropy;
mod error_debug;
pub mod executor;
pub mod objects;
pub mod runtime;
pub mod store;
// 1 tasks
pub mod context;
pub mod registry;
pub mod schema;
pub mod task;
// 2 engine: processes deliveries.
mod engine;
#[cfg(feature = "_mutants")]
#[doc(hidden)]
pub use engine::slots::SlotObserver;
// 3 services: long-running loops.
pub mod client;
mod supervisor;
pub mod worker;
// 4 app: builds a process, and is the only reader of the environment.
pub mod app;
pub mod config;
