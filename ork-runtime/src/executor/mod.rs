//! Executors of tasks in other languages: the port, and the text of its errors.

mod call_error;

pub use ork_ports::executor::*;

pub use self::call_error::call_error;
