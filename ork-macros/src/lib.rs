//! The `#[task]` attribute of ork.

use proc_macro::TokenStream;

mod task;

/// x
#[proc_macro_attribute]
pub fn task(words: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(words.into(), item.into()).into()
}
