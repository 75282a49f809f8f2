//! What stands beside the function: its message, and one row in the table of tasks. Every step of either is a call of
//! a generic function of the runtime, so that there is little to compile and nothing to understand here.

use std::time::Duration;

use proc_macro2::{Ident, Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::Type;
use syn::ext::IdentExt as _;

use super::args::Args;
use super::function::Function;
use super::model::{Model, Param, Returns, Shape, What};
use super::value::{OnError, Tolerate};
use super::words::Role;

/// Everything beside the function, as far as it makes sense.
pub(crate) fn beside(function: &Function, args: &Args, model: &Model) -> TokenStream {
    let Some(work) = model.work.as_ref().filter(|_| model.shape > Shape::Method) else {
        return TokenStream::new();
    };
    let cfgs: Vec<_> = function.cfgs().collect();
    let krate = args.krate.value().cloned().unwrap_or_else(|| quote!(::ork));
    let deprecated = function
        .is_deprecated()
        .then(|| quote!(#[allow(deprecated)]));
    let alias = (model.role != Role::Work).then(|| quote!(type __Work = #work;));
    let message = (model.role != Role::Join).then(|| message_struct(function, model));
    let inputs = inputs(model);
    let impls = match model.role {
        Role::Work | Role::Split => message_impls(args, model),
        Role::Join => joined(model),
    };
    let task = (model.shape == Shape::Task).then(|| task(args, model));
    quote! {
        #message
        #(#cfgs)*
        #deprecated
        const _: () = {
            use #krate::__private as __ork;
            #alias
            #inputs
            #impls
            #task
        };
    }
}

/// The struct of the function's name. Its own tokens come from the macro, so lints about how it is written keep silent.
fn message_struct(function: &Function, model: &Model) -> TokenStream {
    let (vis, name) = (&function.vis, ours(&model.function));
    let cfgs = function.cfgs();
    let docs = match model.role {
        Role::Work => format!(
            "The inputs of the task `{}`, to submit it with.",
            model.function
        ),
        Role::Split | Role::Join => format!(
            "The inputs of `{}`, to submit the whole job with.",
            model.function
        ),
    };
    let unused = model
        .inputs()
        .any(|input| input.name.to_string().starts_with('_'));
    let unused = unused.then(|| quote!(#[allow(clippy::pub_underscore_fields)]));
    let fields = model.inputs().map(|Param { name, ty, docs, .. }| {
        let field = ours(name);
        let docs = match docs.attrs() {
            [] => {
                let words = format!("The input `{name}`.");
                quote!(#[doc = #words])
            }
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

/// The constant that knows how the inputs are described, read and written.
fn inputs(model: &Model) -> Option<TokenStream> {
    let inputs: Vec<_> = model.inputs().collect();
    let kinds = inputs
        .iter()
        .map(|Param { ty, .. }| quote!(__ork::Input<#ty>));
    let values = inputs.iter().map(|Param { name, ty, docs, .. }| {
        let (name, docs) = (wire_name(name), docs.text());
        at(ends(ty), quote!(__ork::input(#name, #docs)))
    });
    match *inputs.as_slice() {
        [] => None,
        [
            Param {
                what: What::Body,
                ty,
                ..
            },
        ] => {
            let body = at(ends(ty), quote!(__ork::body()));
            Some(quote!(const __INPUT: __ork::Body<#ty> = #body;))
        }
        _ => Some(quote!(const __INPUTS: (#(#kinds,)*) = (#(#values,)*);)),
    }
}

fn message_impls(args: &Args, model: &Model) -> TokenStream {
    let message = ours(&model.function);
    let shown = model.function.unraw().to_string();
    let (name, kind, answer) = match model.role {
        Role::Work => {
            let output = output_type(&model.returns);
            (
                task_name(args, &model.function),
                quote!(Item),
                quote!(__ork::Returned<#output>),
            )
        }
        Role::Split | Role::Join => {
            let name = at(
                ends(&model.function),
                quote!(<__Work as __ork::TaskMessage>::TASK),
            );
            (name, quote!(Whole), quote!(__ork::JoinOf<__Work>))
        }
    };
    let json = match model.inputs().next() {
        Some(Param {
            what: What::Body,
            name,
            ..
        }) => quote!(__INPUT.write(&self.#name)),
        Some(_) | None => {
            let fields = model
                .inputs()
                .enumerate()
                .map(|(index, Param { name, .. })| {
                    let index = Literal::usize_unsuffixed(index);
                    quote!(.input(&__INPUTS.#index, &self.#name)?)
                });
            quote!(__ork::Ok(__ork::Writer::new() #(#fields)* .finish()))
        }
    };
    quote! {
        impl __ork::TaskMessage for #message {
            const TASK: __ork::Str = #name;
            const KIND: __ork::Kind = __ork::Kind::#kind;
            type Answer = #answer;
            fn to_json(&self) -> __ork::Json { #json }
        }
        impl __ork::Debug for #message {
            fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted { __ork::debug(#shown, self, __f) }
        }
    }
}

/// The name of the task that a split or a join belongs to; a lint would offer to shorten it if it were the user's.
fn task_of_work(model: &Model) -> TokenStream {
    at(
        ends(&ours(&model.function)),
        quote!(<__Work as __ork::TaskMessage>::TASK),
    )
}

/// Says what the whole job answers.
fn joined(model: &Model) -> TokenStream {
    let output = output_type(&model.returns);
    let ends = ends(&model.function);
    at(
        ends,
        quote!(impl __ork::Joined for __Work { type Output = #output; }),
    )
}

/// The row.
fn task(args: &Args, model: &Model) -> TokenStream {
    let (name, role) = match model.role {
        Role::Work => {
            let message = ours(&model.function);
            (quote!(<#message as __ork::TaskMessage>::TASK), quote!(Work))
        }
        Role::Split => (
            at(
                ends(&model.function),
                quote!(<__Work as __ork::TaskMessage>::TASK),
            ),
            quote!(Split),
        ),
        Role::Join => (
            at(
                ends(&model.function),
                quote!(<__Work as __ork::TaskMessage>::TASK),
            ),
            quote!(Join),
        ),
    };
    let (docs, options) = (model.docs.text(), options(args));
    let path = format!("::{}", model.function.unraw());
    let params = params(model);
    let (returns, output, finish) = returns(model);
    let run = run(model, &finish);
    quote! {
        #returns
        const __TASK: __ork::TaskDef = __ork::TaskDef {
            name: #name,
            role: __ork::Role::#role,
            function: __ork::concat!(__ork::module_path!(), #path),
            location: __ork::Location { file: __ork::file!(), line: __ork::line!() },
            docs: #docs,
            options: #options,
            params: &[#(#params),*],
            output: #output,
            run: #run,
        };
        __ork::submit!(__TASK);
    }
}

fn task_name(args: &Args, function: &Ident) -> TokenStream {
    match args.name.value() {
        Some(name) => quote!(#name),
        None if function == "main" => quote!(__ork::module_name(__ork::module_path!())),
        None => {
            let name = function.unraw().to_string();
            quote!(#name)
        }
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
    let given: Vec<_> = [
        (
            "retries",
            args.retries.value().map(ToTokens::to_token_stream),
        ),
        ("backoff", args.backoff.value().map(duration).map(some)),
        ("timeout", args.timeout.value().map(duration).map(some)),
        (
            "queue",
            args.queue.value().map(|queue| some(quote!(#queue))),
        ),
        (
            "priority",
            args.priority
                .value()
                .map(|priority| Literal::u32_unsuffixed(*priority).into_token_stream()),
        ),
        (
            "chunk",
            args.chunk.value().map(|chunk| some(quote!(#chunk))),
        ),
        ("on_error", args.on_error.value().map(on_error)),
        ("tolerate", args.tolerate.value().map(tolerate).map(some)),
    ]
    .into_iter()
    .filter_map(|(field, value)| {
        let field = format_ident!("{field}");
        value.map(|value| quote!(#field: #value))
    })
    .collect();
    if given.is_empty() {
        quote!(__ork::Options::DEFAULT)
    } else {
        quote!(__ork::Options { #(#given,)* ..__ork::Options::DEFAULT })
    }
}

fn duration(duration: &Duration) -> TokenStream {
    let (seconds, nanos) = (
        Literal::u64_unsuffixed(duration.as_secs()),
        Literal::u32_unsuffixed(duration.subsec_nanos()),
    );
    quote!(__ork::Duration::new(#seconds, #nanos))
}

fn params(model: &Model) -> impl Iterator<Item = TokenStream> {
    let mut index = 0;
    model
        .params
        .iter()
        .map(move |Param { what, ty, .. }| match what {
            What::Field => {
                let place = Literal::usize_unsuffixed(index);
                index += 1;
                quote!(__INPUTS.#place.param())
            }
            What::Body => quote!(__INPUT.param()),
            What::Context => quote!(__ork::Param::Context),
            What::State => {
                let ends = ends(ty);
                let (open, close) = (
                    at(ends, quote!(__ork::Param::state::<)),
                    at((ends.1, ends.1), quote!(>())),
                );
                quote!(#open #ty #close)
            }
            What::Parts => quote!(__ork::Param::Parts),
        })
}

/// A constant where one is needed, the schema of the output, and the function that writes it.
fn returns(model: &Model) -> (Option<TokenStream>, TokenStream, TokenStream) {
    match (model.role, &model.returns) {
        (Role::Split, Returns::Result(ty)) => {
            let finish = at(
                ends(ty),
                quote!(__ork::fallible_split::<__Work, _, _, _, _>()),
            );
            (None, quote!(__ork::schema::<()>), finish)
        }
        (Role::Split, Returns::Value(ty)) => {
            let probe = super::types::impl_trait(ty).is_none().then(|| probe(ty));
            let finish = at(ends(ty), quote!(__ork::split::<__Work, _, _, _>()));
            (probe, quote!(__ork::schema::<()>), finish)
        }
        (_, returns) => {
            let constant = match returns {
                Returns::Nothing => quote!(
                    const __RETURNS: __ork::Returns<()> = __ork::value();
                ),
                Returns::Value(ty) => {
                    let (value, probe) = (at(ends(ty), quote!(__ork::value())), probe(ty));
                    quote!(const __RETURNS: __ork::Returns<#ty> = #value; #probe)
                }
                Returns::Result(ty) => {
                    let result = at(ends(ty), quote!(__ork::result()));
                    quote!(const __RETURNS: __ork::Returns<#ty> = #result;)
                }
            };
            (
                Some(constant),
                quote!(__RETURNS.schema),
                quote!(__RETURNS.write),
            )
        }
    }
}

/// Asks whether a type that is not called `Result` is one all the same.
fn probe(ty: &Type) -> TokenStream {
    let refuse = at(
        ends(ty),
        quote!(__ork::refuse_result(__ork::Probe::<#ty>::IS_RESULT)),
    );
    quote! {
        const _: () = {
            use __ork::NotResult as _;
            #refuse
        };
    }
}

/// How the function is called.
fn run(model: &Model, finish: &TokenStream) -> TokenStream {
    let function = &model.function;
    let mut names = Vec::new();
    let values: Vec<_> = model
        .params
        .iter()
        .map(|Param { what, name, ty, .. }| match what {
            What::Field => {
                let place = Literal::usize_unsuffixed(names.len());
                names.push(wire_name(name));
                quote!(__INPUTS.#place.read(&__fields)?)
            }
            What::Body => quote!(__INPUT.read(__call)?),
            What::Context => qualified(ty, quote!(__ork::IsContext), quote!(>::of(__call))),
            What::State => {
                let state = qualified(ty, quote!(__ork::IsState), quote!(>::of(__call)));
                quote!(#state?)
            }
            What::Parts => qualified(
                ty,
                quote!(__ork::PartsOf<__ork::ReturnedBy<__Work>>),
                quote!(>::of(__call)),
            ),
        })
        .collect();
    let has_fields =
        model.role != Role::Join && model.params.iter().all(|param| param.what != What::Body);
    let fields = has_fields.then(|| quote!(let __fields = __call.fields(&[#(#names),*])?;));
    let (variant, runner, call) = match (model.is_async, model.role) {
        (true, Role::Split) => ("AsyncSplit", "run_async", quote!(__call)),
        (true, Role::Work | Role::Join) => ("Async", "run_async", quote!(__call)),
        (false, Role::Split) => ("BlockingSplit", "run_blocking", quote!(&__call)),
        (false, Role::Work | Role::Join) => ("Blocking", "run_blocking", quote!(&__call)),
    };
    let (variant, runner) = (format_ident!("{variant}"), format_ident!("{runner}"));
    // What is wrong with the function's future is said at the function's name.
    let here = ends(function);
    let (bar, body) = (
        at(here, quote!(|)),
        at(here, quote!({ #fields __ork::Ok(#function(#(#values),*)) })),
    );
    let run = at(
        here,
        quote!(__ork::#runner(#call, #bar __call #bar #body, #finish)),
    );
    quote!(__ork::Run::#variant(|__call| #run))
}

/// The type of what a task returns when all is well.
fn output_type(returns: &Returns) -> TokenStream {
    match returns {
        Returns::Nothing => quote!(()),
        Returns::Value(ty) => quote!(#ty),
        Returns::Result(ty) => qualified(ty, quote!(__ork::IsResult), quote!(>::Output)),
    }
}

/// The name of an input on the wire.
fn wire_name(name: &Ident) -> String {
    name.unraw().to_string()
}

/// The identifier at its place, as a token of the macro: lints about how it is written concern only the user's own.
fn ours(ident: &Ident) -> Ident {
    let mut ours = ident.clone();
    ours.set_span(Span::call_site().located_at(ident.span()));
    ours
}

/// The first and the last token of what the user wrote.
fn ends(tokens: &impl ToTokens) -> (Span, Span) {
    let mut all = tokens.to_token_stream().into_iter();
    let first = all
        .next()
        .map_or_else(Span::call_site, |token| token.span());
    (first, all.last().map_or(first, |token| token.span()))
}

/// `code` at the place of what the user wrote, from its first to its last token, so that an error about it points
/// there. What stands inside groups keeps its own spans: names of locals mean what they mean only with those.
fn at((first, last): (Span, Span), code: TokenStream) -> TokenStream {
    let spans = std::iter::once(first).chain(std::iter::repeat(last));
    let place = |(mut token, span): (TokenTree, Span)| {
        token.set_span(span);
        token
    };
    code.into_iter().zip(spans).map(place).collect()
}

/// `<ty as bound>::..` at the place of the type.
fn qualified(ty: &Type, bound: TokenStream, rest: TokenStream) -> TokenStream {
    let (first, last) = ends(ty);
    let (open, rest) = (
        at((first, first), quote!(<)),
        at((last, last), quote!(as #bound #rest)),
    );
    quote!(#open #ty #rest)
}
