//! Fragments of hook lists, from which tests build random lists that are almost valid.

/// The fragments.
pub const HOOKS: &[&str] = &[
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
