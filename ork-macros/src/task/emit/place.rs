//! Where the tokens of an expansion stand: an error about one of them should point at what the user wrote.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::Type;

/// The first and the last token of something.
pub(super) type Ends = (Span, Span);

/// The ends of what the user wrote. A span from one to the other cannot be made on stable Rust, but the compiler makes
/// it out of an expression whose first and last tokens have them.
pub(super) fn ends(tokens: &impl ToTokens) -> Ends {
    let mut all = tokens.to_token_stream().into_iter();
    let first = all.next().map_or_else(Span::call_site, |token| token.span());
    (first, all.last().map_or(first, |token| token.span()))
}

/// `code` at that place. What stands inside groups keeps its own spans, since a local variable is found only by them.
pub(super) fn put((first, last): Ends, code: TokenStream) -> TokenStream {
    let spans = std::iter::once(first).chain(std::iter::repeat(last));
    let place = |(mut token, span): (TokenTree, Span)| {
        token.set_span(span);
        token
    };
    code.into_iter().zip(spans).map(place).collect()
}

/// `<ty as bound` and what follows, at the place of the type.
pub(super) fn qualified(ty: &Type, bound: &TokenStream, rest: &TokenStream) -> TokenStream {
    let (first, last) = ends(ty);
    let (open, rest) = (put((first, first), quote!(<)), put((last, last), quote!(as #bound #rest)));
    quote!(#open #ty #rest)
}

/// The identifier at its place, as a token of the macro: lints about how it is written concern only the user's own.
pub(super) fn ours(ident: &Ident) -> Ident {
    let mut ours = ident.clone();
    ours.set_span(Span::call_site().located_at(ident.span()));
    ours
}
