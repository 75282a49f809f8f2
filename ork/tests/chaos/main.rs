//! Chaos with real services: worker processes, a RabbitMQ node and a store. While a job runs, workers, RabbitMQ and
//! PostgreSQL are killed, and connections are cut. Then three RabbitMQ nodes, of which one at a time is killed. The
//! seed is printed; `ORK_TEST_SEED` repeats it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "tests and their tasks: a failure must be loud, and other tests use other parts of the support"
)]

mod audit;
mod cluster;
use ork_test_support::{cluster as cluster_of, node, postgres, proof, proxy, rabbit};
mod events;
mod processes;
mod rounds;
mod storm;
mod suspects;
mod tasks;
