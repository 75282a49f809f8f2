//! The function as a task: its role, its parameters and what it returns, with every rule about a signature.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Attribute, FnArg, Generics, Meta, Pat, PatType, ReturnType, Safety, Signature, Type};

use super::docs::Docs;
use super::errors::Errors;
use super::function::{self, Function};
use super::types::{self, Borrow};
use super::words::Role;

/// A task, as far as its signature is right.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) role: Role,
    pub(crate) function: Ident,
    pub(crate) is_async: bool,
    /// The function whose task this is: itself, or the `x` of `x_part` and `x_join`; `None` if the name tells none.
    pub(crate) work: Option<Ident>,
    pub(crate) params: Vec<Param>,
    pub(crate) returns: Returns,
    pub(crate) docs: Docs,
    /// How much of the task can be emitted.
    pub(crate) shape: Shape,
}

/// How much of a function makes sense as a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// It is a method: nothing can stand beside it.
    Method,
    /// Its signature has mistakes: its message is emitted, so that those who send it see no errors of their own.
    Broken,
    /// All of it.
    Task,
}

/// One parameter.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) what: What,
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) docs: Docs,
}

/// What a parameter is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Field,
    Body,
    Context,
    State,
    Parts,
}

/// What the function returns.
#[derive(Debug)]
pub(crate) enum Returns {
    Nothing,
    Value(Type),
    Result(Type),
}

impl Model {
    /// Reads a function, and notes every mistake in its signature.
    pub(crate) fn of(function: &Function, role: Role, errors: &mut Errors) -> Self {
        let before = errors.count();
        let sig = &function.sig;
        let work = work(&sig.ident, role, errors);
        let mut shape = function_rules(sig, errors);
        let mut params: Vec<_> = sig
            .inputs
            .iter()
            .filter_map(|param| match param {
                FnArg::Typed(param) => Some(param_of(param, role, errors)?),
                FnArg::Receiver(_) => None,
            })
            .collect();
        name_the_body(&mut params, errors);
        set_rules(&params, role, sig, errors);
        let mut returns = returns_of(sig, role, errors);
        if errors.count() > before {
            shape = shape.min(Shape::Broken);
        }
        if !sig.generics.params.is_empty() {
            // Types that name a parameter of the function mean nothing beside it.
            params.clear();
            returns = Returns::Nothing;
        }
        let docs = Docs::of(&function.attrs);
        Self {
            role,
            function: sig.ident.clone(),
            is_async: sig.asyncness.is_some(),
            work,
            params,
            returns,
            docs,
            shape,
        }
    }

    /// The parameters that the message has.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Param> {
        self.params
            .iter()
            .filter(|param| matches!(param.what, What::Field | What::Body))
    }
}

/// The function that does the work of the task, by the name of this one.
fn work(function: &Ident, role: Role, errors: &mut Errors) -> Option<Ident> {
    let name = function.unraw().to_string();
    let Some(work) = name
        .strip_suffix(role.suffix())
        .filter(|work| !work.is_empty())
    else {
        let (suffix, what) = match role {
            Role::Split => ("_part", "split"),
            Role::Join | Role::Work => ("_join", "join"),
        };
        let message =
            format!("the {what} of a task `x` is named `x{suffix}`: `{name}` does not end so");
        errors.at(function, message);
        return None;
    };
    if work == name {
        return Some(function.clone());
    }
    // `type_part` splits `r#type`.
    let mut work =
        syn::parse_str::<Ident>(work).unwrap_or_else(|_| Ident::new_raw(work, Span::call_site()));
    work.set_span(function.span());
    Some(work)
}

fn function_rules(sig: &Signature, errors: &mut Errors) -> Shape {
    let mut shape = Shape::Task;
    if let Some(receiver) = sig.receiver() {
        errors.at(
            receiver,
            "a task is a function of its own, not a method: it has no `self`",
        );
        shape = Shape::Method;
    }
    if let Some(constness) = &sig.constness {
        errors.at(
            constness,
            "a task runs when a job comes, so it cannot be `const`",
        );
    }
    if let Safety::Unsafe(word) = &sig.safety {
        errors.at(
            word,
            "a task is called with whatever a message holds, so it cannot be `unsafe`",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "a task is called by Rust: leave out the `extern`");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a task has a fixed list of inputs");
    }
    generics_rules(&sig.generics, errors);
    shape
}

fn generics_rules(generics: &Generics, errors: &mut Errors) {
    if !generics.params.is_empty() {
        let message = "a task cannot be generic: each of its inputs has one type, which is part of its schema";
        errors.at(&generics.params, message);
    } else if let Some(clause) = &generics.where_clause {
        errors.at(clause, "a task cannot be generic, so it needs no `where`");
    }
}

fn param_of(param: &PatType, role: Role, errors: &mut Errors) -> Option<Param> {
    let before = errors.count();
    let what = what(param, role, errors)?;
    for attr in param
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr"))
    {
        errors.at(
            attr,
            "a task has the same inputs in every build: put the `cfg` on the function",
        );
    }
    let is_input = matches!(what, What::Field | What::Body);
    let name = name_of(&param.pat, is_input, errors);
    if is_input {
        input_rules(&param.ty, errors);
        if role == Role::Join {
            let message = "a join takes the outcomes of the parts, `Parts<T>`, beside `Context` and `State<T>`: the \
                           inputs of the job went to the split";
            errors.at(&param.ty, message);
        }
    }
    if errors.count() > before {
        return None;
    }
    Some(Param {
        what,
        name: name?,
        ty: (*param.ty).clone(),
        docs: Docs::of(&param.attrs),
    })
}

/// What a parameter is: as its mark says, else as its type is called.
fn what(param: &PatType, role: Role, errors: &mut Errors) -> Option<What> {
    let mut marks = param
        .attrs
        .iter()
        .filter_map(|attr| Some((attr, function::mark(attr)?)));
    let first = marks.next();
    for (attr, second) in marks {
        errors.at(
            attr,
            format!(
                "a parameter has one mark: this one is `#[{}]` already",
                first.map_or(second, |mark| mark.1)
            ),
        );
    }
    if let Some((
        Attribute {
            meta: meta @ (Meta::List(_) | Meta::NameValue(_)),
            ..
        },
        mark,
    )) = first
    {
        errors.at(meta, format!("the mark is `#[{mark}]` and no more"));
    }
    match first {
        Some((_, mark)) if mark == "context" => Some(What::Context),
        Some((_, mark)) if mark == "state" => Some(What::State),
        Some(_) => Some(What::Field),
        None if types::is_called(&param.ty, "Context") => Some(What::Context),
        None if types::is_called(&param.ty, "State") => Some(What::State),
        None if types::is_called(&param.ty, "Parts") => match role {
            Role::Join => Some(What::Parts),
            Role::Work | Role::Split => {
                let message = "only a join, `#[task(join)]`, has `Parts`: mark the parameter `#[input]` if this is a type of your own";
                errors.at(&param.ty, message);
                None
            }
        },
        None => Some(What::Field),
    }
}

fn name_of(pat: &Pat, is_input: bool, errors: &mut Errors) -> Option<Ident> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
            return Some(pat.ident.clone());
        }
        Pat::Wild(wild) if !is_input => return Some(Ident::new("_ignored", wild.span())),
        Pat::Wild(_) => errors.at(
            pat,
            "an input needs a name: it is the name of the property in the message",
        ),
        _ => errors.at(
            pat,
            "a parameter of a task is a plain name: take the value apart in the body",
        ),
    }
    None
}

fn input_rules(ty: &Type, errors: &mut Errors) {
    match types::borrow(ty) {
        Some(Borrow::Reference(reference, _))
            if ["Context", "State"]
                .iter()
                .any(|own| types::is_called(&reference.elem, own)) =>
        {
            errors.at(reference, "a task is given its own `Context` and `State<T>`, which are cheap to clone: leave out the `&`");
        }
        Some(Borrow::Reference(reference, owned)) => {
            errors.at(
                reference,
                format!("a task owns its inputs, which are read from a message: use `{owned}`"),
            );
        }
        Some(Borrow::Lifetime(lifetime)) => {
            errors.at(lifetime, "a task owns its inputs, which are read from a message: use a type without a lifetime");
        }
        None => {}
    }
    if let Some(found) = types::impl_trait(ty) {
        errors.at(
            found,
            "an input has one type, which is part of the task's schema: name it in place of `impl`",
        );
    }
}

/// Makes a parameter called `input` the whole body.
fn name_the_body(params: &mut [Param], errors: &mut Errors) {
    let inputs = params
        .iter()
        .filter(|param| param.what == What::Field)
        .count();
    let Some(body) = params
        .iter_mut()
        .find(|param| param.what == What::Field && param.name == "input")
    else {
        return;
    };
    if inputs == 1 {
        body.what = What::Body;
    } else {
        let message = "a parameter called `input` is the whole body, so it is the only input: give it another name, or \
                       make the others fields of its type";
        errors.at(&body.name, message);
    }
}

/// The rules about all parameters together.
fn set_rules(params: &[Param], role: Role, sig: &Signature, errors: &mut Errors) {
    for (what, message) in [
        (
            What::Context,
            "a task has one `Context`: this is the second",
        ),
        (What::Parts, "a join has one `Parts<T>`: this is the second"),
    ] {
        for again in params.iter().filter(|param| param.what == what).skip(1) {
            errors.at(&again.ty, message);
        }
    }
    let has_parts = sig
        .inputs
        .iter()
        .any(|param| matches!(param, FnArg::Typed(param) if types::is_called(&param.ty, "Parts")));
    if role == Role::Join && !has_parts {
        errors.at(&sig.ident, "a join folds the outcomes of the parts: it needs a parameter such as `parts: Parts<T>`");
    }
}

fn returns_of(sig: &Signature, role: Role, errors: &mut Errors) -> Returns {
    let ty = match &sig.output {
        ReturnType::Default => {
            if role == Role::Split {
                errors.at(
                    &sig.ident,
                    "a split returns the parts: a `Vec`, an iterator or a stream of messages",
                );
            }
            return Returns::Nothing;
        }
        ReturnType::Type(_, ty) => &**ty,
    };
    if role != Role::Split && !is_output(ty, errors) {
        return Returns::Nothing;
    }
    if types::is_called(ty, "Result") {
        Returns::Result(ty.clone())
    } else {
        Returns::Value(ty.clone())
    }
}

/// Checks the type of an output as far as tokens tell; answers whether it can stand in the message's `impl`.
fn is_output(ty: &Type, errors: &mut Errors) -> bool {
    match types::borrow(ty) {
        Some(Borrow::Reference(reference, owned)) => {
            errors.at(
                reference,
                format!(
                    "a task returns what it owns, since it is kept and read again: use `{owned}`"
                ),
            );
        }
        Some(Borrow::Lifetime(lifetime)) => {
            errors.at(
                lifetime,
                "a task returns what it owns: use a type without a lifetime",
            );
        }
        None => {}
    }
    if let Type::Never(never) = types::strip(ty) {
        errors.at(never, "a task that never returns has no outcome");
        return false;
    }
    if let Some(found) = types::impl_trait(ty) {
        errors.at(found, "what a task returns has one type, which is part of its schema: name it in place of `impl`");
        return false;
    }
    true
}
