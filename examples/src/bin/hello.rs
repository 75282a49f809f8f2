//! The smallest program: one task, with the complete command line.
//!
//! `hello run hello name=Ada` prints a greeting; `hello tasks` lists the tasks of the program.

#![expect(clippy::needless_pass_by_value, reason = "a task owns its inputs")]

use ork::task;

/// Greets a person.
#[task]
fn hello(name: String) -> String {
    format!("hello {name}")
}

fn main() -> std::process::ExitCode {
    ork::main()
}
