//! Executors of tasks in other languages: the port, and its adapter.

mod call_error;

#[cfg(feature = "workflow")]
pub use ork_executor as local;
pub use ork_ports::executor::*;

pub use self::call_error::call_error;
