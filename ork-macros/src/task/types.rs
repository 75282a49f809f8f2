//! Properties of types that can be read from their tokens. All others are left to traits in the expansion.

use proc_macro2::Ident;
use quote::ToTokens as _;
use syn::visit::{self, Visit};
use syn::{GenericArgument, Lifetime, PathArguments, Type, TypeImplTrait, TypeReference};

/// Returns the last segment of a path: the name of a type, whatever its module.
pub(crate) fn last_segment(ty: &Type) -> Option<&Ident> {
    match strip(ty) {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

/// Whether a type is a path that ends with this name.
pub(crate) fn is_named(ty: &Type, name: &str) -> bool {
    last_segment(ty).is_some_and(|ident| ident == name)
}

/// Returns the type without surrounding groups and parentheses.
pub(crate) fn strip(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => strip(&group.elem),
        Type::Paren(paren) => strip(&paren.elem),
        ty => ty,
    }
}

/// A borrow in a type: a reference or a lifetime.
#[derive(Debug, Clone)]
pub(crate) enum Borrow {
    /// `&T`, and the name of an owned type to use instead.
    Reference(Box<TypeReference>, String),
    /// `'a`.
    Lifetime(Lifetime),
}

/// Finds the first borrow in a type.
pub(crate) fn borrow(ty: &Type) -> Option<Borrow> {
    let mut finder = Finder::default();
    finder.visit_type(ty);
    finder.borrow
}

/// Whether a type contains a reference or a lifetime, including `'static`.
pub(crate) fn is_borrowed(ty: &Type) -> bool {
    struct Any(bool);
    impl<'ast> Visit<'ast> for Any {
        fn visit_type_reference(&mut self, _reference: &'ast TypeReference) {
            self.0 = true;
        }

        fn visit_lifetime(&mut self, _lifetime: &'ast Lifetime) {
            self.0 = true;
        }
    }
    let mut any = Any(false);
    any.visit_type(ty);
    any.0
}

/// Finds an `impl Trait` in a type.
pub(crate) fn impl_trait(ty: &Type) -> Option<TypeImplTrait> {
    let mut finder = Finder::default();
    finder.visit_type(ty);
    finder.impl_trait
}

#[derive(Default)]
struct Finder {
    borrow: Option<Borrow>,
    impl_trait: Option<TypeImplTrait>,
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        self.borrow.get_or_insert_with(|| Borrow::Reference(Box::new(reference.clone()), owned(&reference.elem)));
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.borrow.get_or_insert_with(|| Borrow::Lifetime(lifetime.clone()));
        }
    }

    fn visit_type_impl_trait(&mut self, impl_trait: &'ast TypeImplTrait) {
        self.impl_trait.get_or_insert_with(|| impl_trait.clone());
        visit::visit_type_impl_trait(self, impl_trait);
    }
}

/// Returns the usual owned type for a reference to `ty`.
fn owned(ty: &Type) -> String {
    let argument = |arguments: &PathArguments| match arguments {
        PathArguments::AngleBracketed(list) => match list.args.first() {
            Some(GenericArgument::Type(ty)) => Some(text(ty)),
            Some(_) | None => None,
        },
        PathArguments::None | PathArguments::Parenthesized(_) => None,
    };
    match strip(ty) {
        Type::Slice(slice) => format!("Vec<{}>", text(&slice.elem)),
        Type::Path(path) => match path.path.segments.last() {
            Some(last) if last.ident == "str" => "String".to_owned(),
            Some(last) if last.ident == "Path" => "PathBuf".to_owned(),
            Some(last) if last.ident == "OsStr" => "OsString".to_owned(),
            Some(last) if last.ident == "Box" => argument(&last.arguments).unwrap_or_else(|| text(ty)),
            Some(_) | None => text(ty),
        },
        ty => text(ty),
    }
}

/// Formats a type as a user would write it, without the extra spaces of printed tokens.
fn text(ty: &Type) -> String {
    let text = ty.to_token_stream().to_string();
    [" :: ", " < ", " >", "& "].iter().fold(text, |text, spaced| text.replace(spaced, spaced.trim())).replace(" ,", ",")
}
