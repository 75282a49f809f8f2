//! The mistakes of one item, collected so that all of them are reported at once.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::{ToTokens, TokenStreamExt as _};

/// Collects mistakes; only [`collect`] makes one, so none can be forgotten.
#[derive(Debug)]
pub(crate) struct Errors(Vec<syn::Error>);

/// Every mistake that was collected, as tokens that stop the build.
#[derive(Debug)]
#[must_use = "a mistake that is not emitted is not reported"]
pub(crate) struct Report(Vec<syn::Error>);

/// Runs `work` and answers what it made together with every mistake it found.
pub(crate) fn collect<T>(work: impl FnOnce(&mut Errors) -> T) -> (T, Report) {
    let mut errors = Errors(Vec::new());
    let made = work(&mut errors);
    (made, Report(errors.0))
}

impl Errors {
    /// Notes a mistake at these tokens.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.add(syn::Error::new_spanned(tokens, message));
    }

    /// Notes a mistake that already knows its place.
    pub(crate) fn add(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    /// How many there are so far: to tell whether a step found any.
    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }
}

impl ToTokens for Report {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.append_all(self.0.iter().map(syn::Error::to_compile_error));
    }
}
