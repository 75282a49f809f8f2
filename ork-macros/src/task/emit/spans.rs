//! Sets the spans of generated tokens, so that a compile error about them points to the user's code.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::Type;

/// The spans of the first and the last token of some code.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) first: Span,
    pub(super) last: Span,
}

impl From<Span> for Ends {
    fn from(span: Span) -> Self {
        Self { first: span, last: span }
    }
}

/// Returns the spans of the first and the last token of the user's code. A span that covers both cannot be created on
/// stable Rust, but the compiler computes it for an expression whose first and last tokens have these spans.
pub(super) fn ends(tokens: &impl ToTokens) -> Ends {
    let mut all = tokens.to_token_stream().into_iter();
    let first = all.next().map_or_else(Span::call_site, |token| token.span());
    let last = all.last().map_or(first, |token| token.span());
    Ends { first, last }
}

/// Moves `code` to these spans. Tokens inside groups keep their spans, because local variables are resolved by them.
pub(super) fn with_spans(spans: impl Into<Ends>, code: TokenStream) -> TokenStream {
    let Ends { first, last } = spans.into();
    let spans = std::iter::once(first).chain(std::iter::repeat(last));
    let set = |(mut token, span): (TokenTree, Span)| {
        token.set_span(span);
        token
    };
    code.into_iter().zip(spans).map(set).collect()
}

/// Returns `<ty as bound` and `rest`, with the spans of the type.
pub(super) fn qualified(ty: &Type, bound: &TokenStream, rest: &TokenStream) -> TokenStream {
    let Ends { first, last } = ends(ty);
    let (open, rest) = (with_spans(first, quote!(<)), with_spans(last, quote!(as #bound #rest)));
    quote!(#open #ty #rest)
}

/// Returns the identifier with its position, but as a token of the macro. Lints about its spelling then apply only to
/// the user's code.
pub(super) fn ours(ident: &Ident) -> Ident {
    let mut ours = ident.clone();
    ours.set_span(Span::call_site().located_at(ident.span()));
    ours
}
