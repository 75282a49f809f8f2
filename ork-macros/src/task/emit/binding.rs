//! Generates the code that connects the functions of a task: a split declares itself, and code that requires a task
//! without a split checks that there is none.

use proc_macro2::TokenStream;
use quote::quote;

use super::super::args::Args;
use super::super::model::{Model, Returns, Shape};
use super::super::options::{Place, Role, place};
use super::{Ends, ends, ours, output_type, with_spans};

/// Returns the items for one function.
pub(super) fn binding(args: &Args, model: &Model) -> TokenStream {
    match model.role {
        Role::Work => options(args, model),
        Role::Split => with_spans(ends(&ours(&model.function)), quote!(impl __ork::HasSplit for __Work {})),
        Role::Join if model.shape == Shape::Task => output(model),
        Role::Join => TokenStream::new(),
    }
}

/// Options about parts are valid on a task that splits itself. If the task has a split, they belong on the split.
fn options(args: &Args, model: &Model) -> TokenStream {
    let message = ours(&model.function);
    let about_parts = args.given().iter().filter(|option| place(&option.to_string()) == Some(Place::Split));
    let checks = about_parts.map(|option| {
        let refuse = with_spans(ends(option), quote!(__ork::reject_option(__ork::Binding::<#message>::HAS_SPLIT)));
        quote! {
            const _: () = {
                use __ork::NoSplit as _;
                #refuse
            };
        }
    });
    checks.collect()
}

/// Checks that the join of a task that splits itself returns the type that the task returns.
fn output(model: &Model) -> TokenStream {
    let output = output_type(&model.returns);
    // The output type keeps its own spans.
    let spans = match &model.returns {
        Returns::Nothing => ends(&model.function),
        Returns::Value(ty) | Returns::Result(ty) => ends(ty),
    };
    let Ends { first, last } = spans;
    let (open, close) = (with_spans(first, quote!(__ork::Binding::<__Work>::joined::<)), with_spans(last, quote!(>())));
    quote! {
        const _: fn() = || {
            use __ork::NoSplit as _;
            #open #output #close
        };
    }
}
