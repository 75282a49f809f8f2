//! Proves what `#[task]` accepts, refuses and expands to; there is nothing to use here.
//!
//! - `tests/ui`: every mistake and the words for it; `TRYBUILD=overwrite` blesses.
//! - `tests/pass`: forms that must compile, hostile names included.
//! - `tests/expand`: what the attribute writes, one pair of files a feature; `ORK_BLESS=1` blesses.
//! - `tests/run.rs`: what each form of parameter and of return does when it is called.
//! - `tests/lints.rs`: the expansion keeps silent under strict lints.
//! - `renamed/`: a package that knows ork only under another name.
