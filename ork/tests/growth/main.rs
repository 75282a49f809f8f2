//! Nothing grows: whatever RabbitMQ closes, and however many sets are counted without a store, a process keeps the same
//! number of channels, connections, queues, threads and open files, and its memory stays flat.
//!
//! These tests measure their own process, so they have their own test program, and run one after the other.

#![expect(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    reason = "tests and their tasks: a failure must be loud, and other tests use other parts of the support"
)]

mod closed;
mod footprint;
use ork_test_support::{node, proxy, rabbit};
mod sets;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::rabbit::Rabbit;

/// How many channels a connection to the node of these tests may have. The default of RabbitMQ is 2,047.
const CHANNELS: u16 = 64;

/// Runs one test at a time on a node whose connections have few channels, and which takes only small messages.
pub(crate) fn on_a_narrow_node(within: Duration, test: impl AsyncFn(&Rabbit)) {
    static TURN: Mutex<()> = Mutex::new(());
    static NODE: OnceLock<Option<Rabbit>> = OnceLock::new();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let node = NODE.get_or_init(|| {
        let narrow = |_: &std::path::Path| format!("channel_max = {CHANNELS}\nmax_message_size = 65536\n");
        node::can_start_nodes().then(|| Rabbit::start_with(narrow))
    });
    let Some(node) = node else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(within, test(node)).await.expect("the test hangs") });
    runtime.shutdown_background();
}
