//! Generates the message: a struct with the function's name whose fields are the inputs, and its result type.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;

use super::super::args::Args;
use super::super::function::Function;
use super::super::model::Model;
use super::super::options::Role;
use super::super::params::{Param, ParamKind};
use super::{ends, ours, output_type, task_of_work, with_spans};

/// Returns the struct. The name of a function is a value and this one a type, so a single `use` imports both.
pub(super) fn structure(function: &Function, model: &Model) -> TokenStream {
    let (vis, name, cfgs) = (&function.vis, ours(&model.function), function.cfgs());
    let job = if model.role == Role::Work { "a job" } else { "the whole job" };
    let docs = format!(" The inputs of `{}`, to submit {job} with.", model.function.unraw());
    let unused = model.inputs().any(|input| input.name.to_string().starts_with('_'));
    let unused = unused.then(|| quote!(#[allow(clippy::pub_underscore_fields)]));
    // A field has the visibility of the function: a plain `pub` could be unreachable.
    let fields = model.inputs().map(|Param { name, ty, docs, .. }| {
        let field = ours(name);
        let default = format!(" The input `{}`.", name.unraw());
        let docs = match docs.attrs() {
            [] => quote!(#[doc = #default]),
            docs => quote!(#(#docs)*),
        };
        quote!(#docs #vis #field: #ty)
    });
    quote! {
        #(#cfgs)*
        #[doc = #docs]
        #unused
        #vis struct #name { #(#fields),* }
    }
}

/// Returns the impls for what the message runs, how it is written and how it is formatted.
pub(super) fn impls(args: &Args, model: &Model) -> TokenStream {
    let (message, shown) = (ours(&model.function), model.function.unraw().to_string());
    let (name, kind, answer) = match model.role {
        Role::Work => {
            let output = output_type(&model.returns);
            (own_name(args, &model.function), quote!(Single), quote!(__ork::Returned<#output>))
        }
        Role::Split | Role::Join => (task_of_work(model), quote!(Job), quote!(__ork::JoinOf<__Work>)),
    };
    let json = json(model);
    quote! {
        impl __ork::TaskMessage for #message {
            const TASK: __ork::Str = #name;
            const KIND: __ork::JobKind = __ork::JobKind::#kind;
            type Answer = #answer;
            fn to_json(&self) -> __ork::Json { #json }
        }
        impl __ork::Debug for #message {
            fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted { __ork::debug(#shown, self, __f) }
        }
    }
}

/// Returns the impl for the result of the whole job, which is the output of its join.
pub(super) fn joined(model: &Model) -> TokenStream {
    let output = output_type(&model.returns);
    with_spans(ends(&ours(&model.function)), quote!(impl __ork::Joined for __Work { type Output = #output; }))
}

fn json(model: &Model) -> TokenStream {
    if let Some(Param { kind: ParamKind::Body, name, .. }) = model.inputs().next() {
        return quote!(__INPUT.write(&self.#name));
    }
    let fields = model.inputs().enumerate().map(|(index, Param { name, .. })| {
        let index = Literal::usize_unsuffixed(index);
        quote!(.input(&__INPUTS.#index, &self.#name))
    });
    quote!(__ork::Writer::new() #(#fields)* .finish())
}

/// Returns the name of the task that the function belongs to.
fn own_name(args: &Args, function: &Ident) -> TokenStream {
    match args.name.value() {
        Some(name) => quote!(#name),
        None if function == "main" => quote!(__ork::module_name(__ork::module_path!())),
        None => {
            let name = function.unraw().to_string();
            quote!(#name)
        }
    }
}
