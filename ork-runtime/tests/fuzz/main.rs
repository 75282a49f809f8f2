//! All input from outside, from a file or from a store is decoded or rejected with a message: nothing panics, and
//! nothing grows without bounds. The fixed inputs once broke something, or looked as if they might.

#![expect(clippy::indexing_slicing, reason = "a failure must be loud")]

mod decoders;
#[path = "../support/hook_fragments.rs"]
mod hook_fragments;
mod sets;
