//! The parameters of a task: the kind of each of them, and all rules about them.

use proc_macro2::Ident;
use syn::spanned::Spanned as _;
use syn::{Attribute, FnArg, Meta, Pat, PatType, Signature, Type};

use super::docs::Docs;
use super::errors::Errors;
use super::function;
use super::options::Role;
use super::types::{self, Borrow};

/// A parameter of a task.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) kind: ParamKind,
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) docs: Docs,
}

/// The kind of value that a parameter gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParamKind {
    Field,
    Body,
    Context,
    State,
    Parts,
}

/// Reads the valid parameters, and collects all mistakes in the others.
pub(crate) fn read(sig: &Signature, role: Role, errors: &mut Errors) -> Vec<Param> {
    let typed = sig.inputs.iter().filter_map(|param| match param {
        FnArg::Typed(param) => Some(param),
        FnArg::Receiver(_) => None,
    });
    let mut params: Vec<_> = typed.filter_map(|param| param_of(param, role, errors)).collect();
    name_the_body(&mut params, errors);
    set_rules(&params, role, sig, errors);
    params
}

fn param_of(param: &PatType, role: Role, errors: &mut Errors) -> Option<Param> {
    let before = errors.count();
    let kind = kind(param, role, errors)?;
    for attr in param.attrs.iter().filter(|attr| attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr")) {
        errors.at(attr, "a task must have the same inputs in every build: move the `cfg` to the function");
    }
    let is_input = matches!(kind, ParamKind::Field | ParamKind::Body);
    let name = name_of(&param.pat, is_input, errors);
    if is_input {
        input_rules(&param.ty, errors);
        if role == Role::Join {
            let message = "a join takes only the outcomes of the parts, `Parts<T>`, a `Context` and `State<T>`: the \
                           inputs of the job are passed to the split";
            errors.at(&param.ty, message);
        }
    }
    if errors.count() > before {
        return None;
    }
    Some(Param { kind, name: name?, ty: (*param.ty).clone(), docs: Docs::of(&param.attrs) })
}

/// Returns the kind of a parameter: that of its attribute if it has one, otherwise that of its type's name.
fn kind(param: &PatType, role: Role, errors: &mut Errors) -> Option<ParamKind> {
    let mut marks = param.attrs.iter().filter_map(|attr| Some((attr, function::mark(attr)?)));
    let first = marks.next();
    for (attr, second) in marks {
        errors.at(
            attr,
            format!(
                "a parameter can have only one mark: this one already has `#[{}]`",
                first.map_or(second, |mark| mark.1)
            ),
        );
    }
    if let Some((Attribute { meta: meta @ (Meta::List(_) | Meta::NameValue(_)), .. }, mark)) = first {
        errors.at(meta, format!("`#[{mark}]` takes no arguments"));
    }
    let is = |mark: &str, name: &str| match first {
        Some((_, found)) => found == mark,
        None => types::is_named(&param.ty, name),
    };
    if is("context", "Context") {
        Some(ParamKind::Context)
    } else if is("state", "State") {
        Some(ParamKind::State)
    } else if first.is_some() || !types::is_named(&param.ty, "Parts") {
        Some(ParamKind::Field)
    } else if role == Role::Join {
        Some(ParamKind::Parts)
    } else {
        let message =
            "only a join, `#[task(join)]`, can take `Parts`: mark the parameter `#[input]` if this is your own type";
        errors.at(&param.ty, message);
        None
    }
}

fn name_of(pat: &Pat, is_input: bool, errors: &mut Errors) -> Option<Ident> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
            return Some(pat.ident.clone());
        }
        Pat::Wild(wild) if !is_input => return Some(Ident::new("_ignored", wild.span())),
        Pat::Wild(_) => errors.at(pat, "an input must have a name, which is the property in the message"),
        _ => errors.at(pat, "a parameter of a task must be a plain name: destructure the value in the body"),
    }
    None
}

fn input_rules(ty: &Type, errors: &mut Errors) {
    match types::borrow(ty) {
        Some(Borrow::Reference(reference, _))
            if ["Context", "State"].iter().any(|own| types::is_named(&reference.elem, own)) =>
        {
            errors.at(
                reference,
                "a task takes `Context` and `State<T>` by value, which are cheap to clone: remove the `&`",
            );
        }
        Some(Borrow::Reference(reference, owned)) => {
            errors.at(reference, format!("a task must own its inputs, which are read from a message: use `{owned}`"));
        }
        Some(Borrow::Lifetime(lifetime)) => {
            errors.at(
                lifetime,
                "a task must own its inputs, which are read from a message: use a type without a lifetime",
            );
        }
        None => {}
    }
    if let Some(found) = types::impl_trait(ty) {
        errors.at(
            found,
            "an input has one type, which is part of the task's schema: use a concrete type instead of `impl`",
        );
    }
}

/// Makes a parameter named `input` the whole body.
fn name_the_body(params: &mut [Param], errors: &mut Errors) {
    let inputs = params.iter().filter(|param| param.kind == ParamKind::Field).count();
    let Some(body) = params.iter_mut().find(|param| param.kind == ParamKind::Field && param.name == "input") else {
        return;
    };
    if inputs == 1 {
        body.kind = ParamKind::Body;
    } else {
        let message = "a parameter named `input` is the whole body, so it must be the only input: rename it, or make \
                       the others fields of its type";
        errors.at(&body.name, message);
    }
}

/// Checks the rules that concern all parameters together.
fn set_rules(params: &[Param], role: Role, sig: &Signature, errors: &mut Errors) {
    for (kind, message) in [
        (ParamKind::Context, "a task can have only one `Context`: this is the second"),
        (ParamKind::Parts, "a join can have only one `Parts<T>`: this is the second"),
    ] {
        for again in params.iter().filter(|param| param.kind == kind).skip(1) {
            errors.at(&again.ty, message);
        }
    }
    let has_parts =
        sig.inputs.iter().any(|param| matches!(param, FnArg::Typed(param) if types::is_named(&param.ty, "Parts")));
    if role == Role::Join && !has_parts {
        errors.at(&sig.ident, "a join must take the outcomes of the parts: add a parameter such as `parts: Parts<T>`");
    }
}
