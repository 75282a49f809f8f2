//! The annotated item as the macro reads it: a signature, and a body that it does not parse.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt as _};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, FnArg, Item, Signature, Token, Visibility};

/// A function with its body.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    body: TokenStream,
}

/// The attributes of parameters that only the macro understands.
pub(crate) const MARKS: [&str; 3] = ["input", "context", "state"];

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse::<Signature>()?;
        if input.peek(Token![;]) {
            return Err(syn::Error::new_spanned(&sig.ident, "a task must have a body"));
        }
        // An incomplete body is left to the compiler, and to the completion of an editor.
        let body = match input.parse()? {
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => body.into_token_stream(),
            other => {
                return Err(syn::Error::new_spanned(other, "expected the body of the function"));
            }
        };
        if input.is_empty() { Ok(Self { attrs, vis, sig, body }) } else { Err(input.error("unexpected tokens")) }
    }
}

impl Function {
    /// Returns the function without what only the macro understands: attributes and documentation on its parameters.
    pub(crate) fn plain(&self) -> Self {
        let mut plain = self.clone();
        for param in &mut plain.sig.inputs {
            if let FnArg::Typed(param) = param {
                param.attrs.retain(|attr| !attr.path().is_ident("doc") && mark(attr).is_none());
            }
        }
        plain
    }

    /// The `cfg` attributes of the function. The generated items need them, too.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        self.attrs.iter().filter(|attr| attr.path().is_ident("cfg"))
    }

    /// Whether the function is deprecated, so that generated uses of it must not warn.
    pub(crate) fn is_deprecated(&self) -> bool {
        self.attrs.iter().any(|attr| attr.path().is_ident("deprecated"))
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.append_all(&self.attrs);
        self.vis.to_tokens(tokens);
        self.sig.to_tokens(tokens);
        self.body.to_tokens(tokens);
    }
}

/// Returns the name of the attribute, if it is one of [`MARKS`].
pub(crate) fn mark(attr: &Attribute) -> Option<&Ident> {
    attr.path().get_ident().filter(|name| MARKS.iter().any(|mark| name == mark))
}

/// Returns the error for an item that is not a function.
pub(crate) fn not_a_function(item: TokenStream, error: syn::Error) -> syn::Error {
    let found = match syn::parse2::<Item>(item) {
        Ok(Item::Const(_)) => "a constant",
        Ok(Item::Enum(_)) => "an enum",
        Ok(Item::ForeignMod(_)) => "an `extern` block",
        Ok(Item::Impl(_)) => "an `impl` block",
        Ok(Item::Macro(_)) => "a macro",
        Ok(Item::Mod(_)) => "a module",
        Ok(Item::Static(_)) => "a static",
        Ok(Item::Struct(_)) => "a struct",
        Ok(Item::Trait(_)) => "a trait",
        Ok(Item::Type(_)) => "a type alias",
        Ok(Item::Use(_)) => "a `use`",
        Ok(_) | Err(_) => return error,
    };
    syn::Error::new(error.span(), format!("`#[task]` can only be applied to a function, not to {found}"))
}
