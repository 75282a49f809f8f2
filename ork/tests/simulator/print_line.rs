//! Prints lines to the standard output. A closed pipe, such as that of `head`, is not an error.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _, stdout};

pub(crate) fn line(args: Arguments<'_>) {
    if let Err(error) = writeln!(stdout().lock(), "{args}") {
        assert!(error.kind() == ErrorKind::BrokenPipe, "a line cannot be printed: {error}");
    }
}

/// Prints a line.
macro_rules! print_line {
    ($($args:tt)*) => { $crate::print_line::line(format_args!($($args)*)) };
}

pub(crate) use print_line;
