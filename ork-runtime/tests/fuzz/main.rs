//! Whatever comes from outside, from a file or from a store is read or refused in words: nothing panics, nothing grows
//! without bounds. The seeds are what once broke something, or looked as if it might.

#![expect(clippy::indexing_slicing, reason = "what fails must fail loudly")]

mod decoders;
#[path = "../support/hook_words.rs"]
mod hook_words;
mod sets;
