//! All input from outside, from a file or from a store is decoded or rejected with a message: nothing panics, and
//! nothing grows without bounds. The fixed inputs once broke something, or looked as if they might.

#![expect(clippy::indexing_slicing, reason = "a failure must be loud")]

mod decoders;
use ork_test_support::hook_fragments;
mod sets;
