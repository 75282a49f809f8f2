//! Helpers for the examples that run a demonstration without arguments, and the ork command line with arguments.

use std::error::Error;
use std::process::ExitCode;

/// Prints a line.
#[expect(clippy::print_stdout, reason = "the output is for the user")]
pub fn print_line(line: &str) {
    println!("{line}");
}

/// Runs the demonstration if there are no arguments, and the ork command line otherwise.
pub fn main(demonstration: impl Future<Output = Result<(), Box<dyn Error>>>) -> ExitCode {
    if std::env::args().len() > 1 {
        return ork::main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let shown = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(demonstration));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_line(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
