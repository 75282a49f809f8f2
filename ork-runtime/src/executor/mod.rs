//! Executors of tasks in other languages: the port, and its adapter.

mod call_error;
#[cfg(feature = "workflow")]
pub mod local;

pub use ork_ports::executor::*;

pub use self::call_error::call_error;
