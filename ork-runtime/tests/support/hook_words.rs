//! The words of lists of hooks, for random ones that are nearly right.

/// What lists of hooks are made of.
pub(crate) const HOOKS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"route\"",
    "\"when\"",
    "\"inputs\"",
    "\"a\"",
    "\"success\"",
    "{\"route\":\"a\"}",
    "{\"on_complete\":[",
    "\\",
    "7",
];
