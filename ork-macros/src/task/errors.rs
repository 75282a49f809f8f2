//! Collects the mistakes of an item, so that all of them are reported together.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::{ToTokens, TokenStreamExt as _};

/// A collector of mistakes. Only [`collect`] creates one, so that no mistake is dropped.
#[derive(Debug)]
pub(crate) struct Errors(Vec<syn::Error>);

/// All mistakes that were collected, as tokens that fail the build.
#[derive(Debug)]
#[must_use = "errors that are not emitted are lost"]
pub(crate) struct Report(Vec<syn::Error>);

/// Runs `work` and returns its result together with all mistakes that it found.
pub(crate) fn collect<T>(work: impl FnOnce(&mut Errors) -> T) -> (T, Report) {
    let mut errors = Errors(Vec::new());
    let result = work(&mut errors);
    (result, Report(errors.0))
}

impl Errors {
    /// Adds a mistake at these tokens.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.add(syn::Error::new_spanned(tokens, message));
    }

    /// Adds a mistake that has a span already.
    pub(crate) fn add(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    /// The number of mistakes so far. A step compares it before and after its work to see whether it has found any.
    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }
}

impl ToTokens for Report {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.append_all(self.0.iter().map(syn::Error::to_compile_error));
    }
}
