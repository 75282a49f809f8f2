//! Generates the items next to the function: its message, and a row in the table of tasks. They consist of calls of
//! generic functions of the runtime, so that there is little code to compile and to read.
//!
//! Names that begin with two underscores belong to the expansion. All other names go through `__ork`, because a
//! user's module may redefine even `Option` or `str`.

mod binding;
mod message;
mod row;
mod spans;

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;

use self::spans::{Ends, ends, ours, qualified, with_spans};
use super::args::Args;
use super::function::Function;
use super::model::{Model, Returns, Shape};
use super::options::Role;
use super::params::{Param, ParamKind};

/// Returns all items next to the function, as far as the function allows.
pub(crate) fn items(function: &Function, args: &Args, model: &Model) -> TokenStream {
    let Some(work) = model.work.as_ref().filter(|_| model.shape > Shape::Method) else {
        return TokenStream::new();
    };
    let cfgs = function.cfgs();
    let krate = args.krate.value().cloned().unwrap_or_else(|| quote!(::ork));
    let deprecated = function.is_deprecated().then(|| quote!(#[allow(deprecated)]));
    // The task is named only once, so that a missing task causes a single error.
    let alias = (model.role != Role::Work).then(|| quote!(type __Work = #work;));
    let structure = (model.role != Role::Join).then(|| message::structure(function, model));
    let inputs = inputs(model);
    let impls = match model.role {
        Role::Work | Role::Split => message::impls(args, model),
        Role::Join => message::joined(model),
    };
    let binding = binding::binding(args, model);
    let row = (model.shape == Shape::Task).then(|| row::row(args, model));
    quote! {
        #structure
        #(#cfgs)*
        #deprecated
        const _: () = {
            use #krate::__private as __ork;
            #alias
            #inputs
            #impls
            #binding
            #row
        };
    }
}

/// Returns the constant that defines how the inputs are described, read and written.
fn inputs(model: &Model) -> Option<TokenStream> {
    let inputs: Vec<_> = model.inputs().collect();
    if let [Param { kind: ParamKind::Body, ty, .. }] = *inputs.as_slice() {
        let body = with_spans(ends(ty), quote!(__ork::body()));
        return Some(quote!(const __INPUT: __ork::Body<#ty> = #body;));
    }
    let types = inputs.iter().map(|Param { ty, .. }| quote!(__ork::Input<#ty>));
    let values = inputs.iter().map(|Param { name, ty, docs, .. }| {
        let (name, docs) = (wire_name(name), docs.text());
        with_spans(ends(ty), quote!(__ork::input(#name, #docs)))
    });
    let constant = quote!(const __INPUTS: (#(#types,)*) = (#(#values,)*););
    (!inputs.is_empty()).then_some(constant)
}

/// Returns the name of the task to which a split or join belongs.
fn task_of_work(model: &Model) -> TokenStream {
    with_spans(ends(&ours(&model.function)), quote!(<__Work as __ork::TaskMessage>::TASK))
}

/// Returns the type that a task returns on success.
fn output_type(returns: &Returns) -> TokenStream {
    match returns {
        Returns::Nothing => quote!(()),
        Returns::Value(ty) => quote!(#ty),
        Returns::Result(ty) => qualified(ty, &quote!(__ork::IsResult), &quote!(>::Output)),
    }
}

/// Returns the name of an input in messages.
fn wire_name(name: &Ident) -> String {
    name.unraw().to_string()
}
