//! Generates the row in the table of tasks: a constant that describes the function and how it is called.

use std::time::Duration;

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens as _, format_ident, quote};
use syn::Type;
use syn::ext::IdentExt as _;

use super::super::args::Args;
use super::super::model::{Model, Returns};
use super::super::options::Role;
use super::super::params::{Param, ParamKind};
use super::super::types;
use super::super::value::{Concurrency, OnError, Tolerate};
use super::{ends, ours, qualified, task_of_work, wire_name, with_spans};

/// Returns the constant, and its entry in the registry.
pub(super) fn row(args: &Args, model: &Model) -> TokenStream {
    let message = ours(&model.function);
    let (name, role) = match model.role {
        Role::Work => (quote!(<#message as __ork::TaskMessage>::TASK), quote!(Work)),
        Role::Split => (task_of_work(model), quote!(Split)),
        Role::Join => (task_of_work(model), quote!(Join)),
    };
    let (docs, options) = (model.docs.text(), options(args));
    let path = format!("::{}", model.function.unraw());
    let params = params(model);
    let Output { constants, schema, finish } = output(model);
    let run = run(model, &finish);
    quote! {
        #constants
        const __TASK: __ork::TaskDef = __ork::TaskDef {
            name: #name,
            role: __ork::Role::#role,
            function: __ork::concat!(__ork::module_path!(), #path),
            location: __ork::here!(),
            docs: #docs,
            options: #options,
            params: &[#(#params),*],
            output: #schema,
            run: #run,
            rules: __ork::rules!(),
        };
        __ork::submit!(__TASK);
    }
}

fn options(args: &Args) -> TokenStream {
    let some = |value: TokenStream| quote!(__ork::Some(#value));
    let tolerate = |tolerate: &Tolerate| match tolerate {
        Tolerate::Count(count) => quote!(__ork::Tolerate::Count(#count)),
        Tolerate::Percent(share) => quote!(__ork::Tolerate::Percent(#share)),
    };
    let on_error = |policy: &OnError| match policy {
        OnError::Finish => quote!(__ork::OnError::Finish),
        OnError::Stop => quote!(__ork::OnError::Stop),
    };
    let concurrency = |Concurrency { calls, key }: &Concurrency| {
        let key = key.as_ref().map_or_else(|| quote!(__ork::None), |key| quote!(__ork::Some(#key)));
        let calls = Literal::u32_unsuffixed(*calls);
        quote!(__ork::Concurrency { calls: #calls, key: #key })
    };
    let number = |number: &u32| Literal::u32_unsuffixed(*number).into_token_stream();
    let given: Vec<_> = [
        ("retries", args.retries.value().map(number)),
        ("backoff", args.backoff.value().map(duration).map(some)),
        ("timeout", args.timeout.value().map(duration).map(some)),
        ("queue", args.queue.value().map(|queue| some(quote!(#queue)))),
        ("priority", args.priority.value().map(number)),
        ("chunk", args.chunk.value().map(number).map(some)),
        ("on_error", args.on_error.value().map(on_error)),
        ("tolerate", args.tolerate.value().map(tolerate).map(some)),
        ("concurrency", args.concurrency.value().map(concurrency).map(some)),
        ("unique", args.unique.value().map(|key| some(quote!(#key)))),
    ]
    .into_iter()
    .filter_map(|(field, value)| Some((format_ident!("{field}"), value?)))
    .map(|(field, value)| quote!(#field: #value))
    .collect();
    match given.as_slice() {
        [] => quote!(__ork::Options::DEFAULT),
        given => quote!(__ork::Options { #(#given,)* ..__ork::Options::DEFAULT }),
    }
}

fn duration(duration: &Duration) -> TokenStream {
    let seconds = Literal::u64_unsuffixed(duration.as_secs());
    let nanos = Literal::u32_unsuffixed(duration.subsec_nanos());
    quote!(__ork::Duration::new(#seconds, #nanos))
}

fn params(model: &Model) -> impl Iterator<Item = TokenStream> {
    let mut index = 0;
    model.params.iter().map(move |Param { kind, ty, .. }| match kind {
        ParamKind::Field => {
            let position = Literal::usize_unsuffixed(index);
            index += 1;
            quote!(__INPUTS.#position.param())
        }
        ParamKind::Body => quote!(__INPUT.param()),
        ParamKind::Context => quote!(__ork::Param::Context),
        ParamKind::State => {
            let spans = ends(ty);
            let (open, close) =
                (with_spans(spans, quote!(__ork::Param::state::<)), with_spans(spans.last, quote!(>())));
            quote!(#open #ty #close)
        }
        ParamKind::Parts => quote!(__ork::Param::Parts),
    })
}

/// The code for the return value of the function.
struct Output {
    /// Constants that the other fields use.
    constants: Option<TokenStream>,
    /// The function that returns the schema.
    schema: TokenStream,
    /// The function that writes the value.
    finish: TokenStream,
}

fn output(model: &Model) -> Output {
    let (constants, finish) = match (model.role, &model.returns) {
        (Role::Split, Returns::Value(ty)) => {
            // An `impl Trait` type cannot be named, but it cannot be an alias either.
            let probe = types::impl_trait(ty).is_none().then(|| probe(ty));
            (probe, with_spans(ends(ty), quote!(__ork::Splits::<__Work>::plain())))
        }
        (Role::Split, Returns::Result(ty)) => (None, with_spans(ends(ty), quote!(__ork::Splits::<__Work>::fallible()))),
        (Role::Split | Role::Work | Role::Join, returns) => {
            let constants = match returns {
                Returns::Nothing => quote!(
                    const __RETURNS: __ork::Returns<()> = __ork::value();
                ),
                Returns::Value(ty) => {
                    let (value, probe) = (with_spans(ends(ty), quote!(__ork::value())), probe(ty));
                    quote!(const __RETURNS: __ork::Returns<#ty> = #value; #probe)
                }
                Returns::Result(ty) => {
                    let result = with_spans(ends(ty), quote!(__ork::result()));
                    quote!(const __RETURNS: __ork::Returns<#ty> = #result;)
                }
            };
            let finish = match returns {
                Returns::Value(ty) if !types::is_borrowed(ty) => quote!(__ork::write!(__RETURNS, Reads<#ty>)),
                Returns::Result(ty) if !types::is_borrowed(ty) => quote!(__ork::write!(__RETURNS, ReadsOk<#ty>)),
                // A type with a `'static` borrow can be written, but not read.
                Returns::Nothing | Returns::Value(_) | Returns::Result(_) => quote!(__ork::write!(__RETURNS)),
            };
            (Some(constants), finish)
        }
    };
    let schema = match model.role {
        Role::Split => quote!(__ork::schema::<()>),
        Role::Work | Role::Join => quote!(__RETURNS.schema),
    };
    Output { constants, schema, finish }
}

/// Returns a check that a type without the name `Result` is not a `Result`.
fn probe(ty: &Type) -> TokenStream {
    let refuse = with_spans(ends(ty), quote!(__ork::reject_result(__ork::Probe::<#ty>::IS_RESULT)));
    quote! {
        const _: () = {
            use __ork::NotResult as _;
            #refuse
        };
    }
}

/// Returns the code that calls the function.
fn run(model: &Model, finish: &TokenStream) -> TokenStream {
    let function = &model.function;
    let (fields, arguments) = arguments(model);
    let (variant, runner, call) = match (model.is_async, model.role) {
        (true, Role::Split) => ("AsyncSplit", "run_async", quote!(__call)),
        (true, Role::Work | Role::Join) => ("Async", "run_async", quote!(__call)),
        (false, Role::Split) => ("BlockingSplit", "run_blocking", quote!(&__call)),
        (false, Role::Work | Role::Join) => ("Blocking", "run_blocking", quote!(&__call)),
    };
    let (variant, runner) = (format_ident!("{variant}"), format_ident!("{runner}"));
    // Compile errors about the future of the function are reported at its name.
    let here = ends(function);
    let (bar, body) =
        (with_spans(here, quote!(|)), with_spans(here, quote!({ #fields __ork::Ok(#function(#(#arguments),*)) })));
    let run = with_spans(here, quote!(__ork::#runner(#call, #bar __call #bar #body, #finish)));
    quote!(__ork::Run::#variant(|__call| #run))
}

/// Returns a statement that finds the named inputs, if there can be any, and the arguments in order.
fn arguments(model: &Model) -> (Option<TokenStream>, Vec<TokenStream>) {
    let mut names = Vec::new();
    let arguments = model.params.iter().map(|Param { kind, name, ty, .. }| match kind {
        ParamKind::Field => {
            let position = Literal::usize_unsuffixed(names.len());
            names.push(wire_name(name));
            quote!(__INPUTS.#position.read(&__fields)?)
        }
        ParamKind::Body => quote!(__INPUT.read(__call)?),
        ParamKind::Context => qualified(ty, &quote!(__ork::IsContext), &quote!(>::of(__call))),
        ParamKind::State => {
            let state = qualified(ty, &quote!(__ork::IsState), &quote!(>::of(&__call.states)));
            quote!(#state?)
        }
        ParamKind::Parts => qualified(ty, &quote!(__ork::PartsOf<__ork::ReturnedBy<__Work>>), &quote!(>::of(__call))),
    });
    let arguments = arguments.collect();
    // A task without inputs still rejects a body that has some. The body of a join belongs to the job, not to the
    // join.
    let has_fields = model.role != Role::Join && model.params.iter().all(|param| param.kind != ParamKind::Body);
    let fields = has_fields.then(|| quote!(let __fields = __call.fields(&[#(#names),*])?;));
    (fields, arguments)
}
