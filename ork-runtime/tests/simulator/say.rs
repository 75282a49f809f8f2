//! What this program prints. A reader that has closed the pipe, as `head` does, has read enough.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _, stdout};

pub(crate) fn line(words: Arguments<'_>) {
    if let Err(error) = writeln!(stdout().lock(), "{words}") {
        assert!(error.kind() == ErrorKind::BrokenPipe, "a line cannot be printed: {error}");
    }
}

/// Prints a line.
macro_rules! say {
    ($($words:tt)*) => { $crate::say::line(format_args!($($words)*)) };
}

pub(crate) use say;
