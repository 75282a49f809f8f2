//! What every store must do, run over each of them. The port changes here first.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod accounting;
mod files;
mod outbox;
mod views;
mod world;
