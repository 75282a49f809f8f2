//! Tests of what `#[task]` accepts, rejects and expands to; this package has no code to use.
//!
//! - `tests/ui`: every mistake and its error message; `TRYBUILD=overwrite` blesses.
//! - `tests/pass`: forms that must compile, including hostile names.
//! - `tests/expand`: the expansions, one pair of files per feature; `ORK_BLESS=1` blesses.
//! - `tests/run`: the behavior of each form of parameter and of return value when a task is called.
//! - `tests/lints.rs`: the expansion causes no warnings under strict lints.
//! - `renamed/`: a package that knows ork only under another name.
