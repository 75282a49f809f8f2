//! The four steps of `#[task]`, with one module for each: `args` and `function` parse the input, `model` analyzes it,
//! `check` validates it, and `emit` generates the code.

mod args;
mod check;
mod docs;
mod emit;
mod errors;
mod function;
mod model;
mod options;
mod params;
mod types;
mod value;

use proc_macro2::TokenStream;
use quote::quote;

use self::args::Args;
use self::function::Function;
use self::model::Model;

/// Expands the attribute: returns the unchanged item, the generated items, and all mistakes that were found.
pub(crate) fn expand(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    let (function, report) = errors::collect(|errors| {
        let parsed = syn::parse2::<Function>(item.clone());
        parsed.map_err(|error| errors.add(function::not_a_function(item.clone(), error))).ok()
    });
    let Some(function) = function else {
        return quote!(#item #report);
    };
    let (items, report) = errors::collect(|errors| {
        let args = Args::parse(arguments, errors);
        let role = check::role(&args, errors);
        check::check(&args, role, &function, errors);
        let model = Model::of(&function, role, errors);
        check::check_limit_key(&args, &model, errors);
        emit::items(&function, &args, &model)
    });
    let function = function.plain();
    quote!(#function #items #report)
}
