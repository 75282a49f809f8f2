//! Tasks in other languages: real interpreters and real programs, what they say, and that none of them is left.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "these are tests: what fails must fail loudly"
)]

mod errors;
mod pools;
mod programs;
#[path = "../support/python.rs"]
#[expect(unreachable_pub, reason = "other test programs use it, too")]
mod python;
mod seed;
mod stop;
mod talk;
mod types;
mod world;
