//! Documentation comments as text: those of functions for the list of tasks, those of parameters for the schema.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The `#[doc = ..]` attributes of an item.
#[derive(Debug, Clone, Default)]
pub(crate) struct Docs(Vec<Attribute>);

impl Docs {
    /// Selects the documentation from `attrs`.
    pub(crate) fn of(attrs: &[Attribute]) -> Self {
        let is_text = |attr: &&Attribute| matches!(&attr.meta, Meta::NameValue(pair) if pair.path.is_ident("doc"));
        Self(attrs.iter().filter(is_text).cloned().collect())
    }

    /// The attributes, to be put on generated items.
    pub(crate) fn attrs(&self) -> &[Attribute] {
        &self.0
    }

    /// Returns an expression for the text. The name `__ork` must be in scope.
    pub(crate) fn text(&self) -> TokenStream {
        let (mut pieces, mut text) = (Vec::new(), String::new());
        for (index, attr) in self.0.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            match &attr.meta {
                Meta::NameValue(pair) => match &pair.value {
                    Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => push(&mut text, &line.value()),
                    // For example `#[doc = include_str!("..")]`, which only the compiler can read.
                    other => {
                        let before = std::mem::take(&mut text);
                        pieces.push(quote!(#before, #other));
                    }
                },
                Meta::Path(_) | Meta::List(_) => {}
            }
        }
        if pieces.is_empty() { quote!(#text) } else { quote!(__ork::concat!(#(#pieces,)* #text)) }
    }
}

/// Appends a comment without the space after `///`.
fn push(text: &mut String, comment: &str) {
    for (index, line) in comment.lines().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(line.strip_prefix(' ').unwrap_or(line).trim_end());
    }
}
