//! Markers by which the compiler chooses one of several impls of a trait by inference.

/// A marker that makes impls distinct, so that the compiler can choose one of them by inference.
#[derive(Debug)]
pub struct Form<const N: u8>;

/// A trait without implementations.
pub trait Never {}
