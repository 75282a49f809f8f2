//! The ports of ork: small traits over plain data that the adapters implement.
//!
//! The engine knows these traits and no adapter. Users depend on the crate `ork`; the items of this crate may change in
//! any release.

pub mod broker;
pub mod executor;
pub mod objects;
pub mod runtime;
pub mod store;
