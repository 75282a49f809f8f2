//! The function as a task: its role, its parameters and its return value, with all rules about signatures.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::{Generics, ReturnType, Safety, Signature, Type};

use super::docs::Docs;
use super::errors::Errors;
use super::function::Function;
use super::options::Role;
use super::params::{self, Param, ParamKind};
use super::types::{self, Borrow};

/// A task, as far as its signature is valid.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) role: Role,
    pub(crate) function: Ident,
    pub(crate) is_async: bool,
    /// The function that does the work of the task: this function, or the `x` of `x_part` and `x_join`. `None` if the
    /// name is not of this form.
    pub(crate) work: Option<Ident>,
    pub(crate) params: Vec<Param>,
    pub(crate) returns: Returns,
    pub(crate) docs: Docs,
    /// The extent to which the task can be generated.
    pub(crate) shape: Shape,
}

/// The extent to which a function can be made into a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// The function is a method: no items can be generated next to it.
    Method,
    /// The signature has mistakes. The message is still generated, so that code that submits it causes no further
    /// errors.
    Broken,
    /// The whole task can be generated.
    Task,
}

/// The return type of the function.
#[derive(Debug)]
pub(crate) enum Returns {
    Nothing,
    Value(Type),
    Result(Type),
}

impl Model {
    /// Reads a function and collects all mistakes in its signature.
    pub(crate) fn of(function: &Function, role: Role, errors: &mut Errors) -> Self {
        let before = errors.count();
        let sig = &function.sig;
        let work = work(&sig.ident, role, errors);
        let mut shape = function_rules(sig, errors);
        let mut params = params::read(sig, role, errors);
        let mut returns = returns_of(sig, role, errors);
        if errors.count() > before {
            shape = shape.min(Shape::Broken);
        }
        if !sig.generics.params.is_empty() {
            // Types that refer to a generic parameter of the function are not valid outside of it.
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

    /// The parameters that are inputs, and so are fields of the message.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Param> {
        self.params.iter().filter(|param| matches!(param.kind, ParamKind::Field | ParamKind::Body))
    }
}

/// Names that no function can have.
const NO_NAMES: [&str; 6] = ["", "_", "crate", "self", "Self", "super"];

/// Returns the function that does the work of the task, derived from the name of this function.
fn work(function: &Ident, role: Role, errors: &mut Errors) -> Option<Ident> {
    let name = function.unraw().to_string();
    let Some(work) = name.strip_suffix(role.suffix()).filter(|work| !NO_NAMES.contains(work)) else {
        let (suffix, what) = match role {
            Role::Split => ("_part", "split"),
            Role::Join | Role::Work => ("_join", "join"),
        };
        let message = format!("the {what} of a task `x` must be named `x{suffix}`, found `{name}`");
        errors.at(function, message);
        return None;
    };
    if work == name {
        return Some(function.clone());
    }
    // `type_part` is the split of `r#type`.
    let mut work = syn::parse_str(work).unwrap_or_else(|_keyword| Ident::new_raw(work, Span::call_site()));
    work.set_span(function.span());
    Some(work)
}

fn function_rules(sig: &Signature, errors: &mut Errors) -> Shape {
    let mut shape = Shape::Task;
    if let Some(receiver) = sig.receiver() {
        errors.at(receiver, "a task must be a free function, not a method: remove `self`");
        shape = Shape::Method;
    }
    if let Some(constness) = &sig.constness {
        errors.at(constness, "a task cannot be `const`: it runs when a job arrives");
    }
    if let Safety::Unsafe(keyword) = &sig.safety {
        errors.at(keyword, "a task cannot be `unsafe`: it is called with the contents of any message");
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "a task is called from Rust: remove `extern`");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a task must have a fixed list of inputs");
    }
    generics_rules(&sig.generics, errors);
    shape
}

fn generics_rules(generics: &Generics, errors: &mut Errors) {
    if !generics.params.is_empty() {
        let message = "a task cannot be generic: each of its inputs has one type, which is part of its schema";
        errors.at(&generics.params, message);
    } else if let Some(clause) = &generics.where_clause {
        errors.at(clause, "a task cannot be generic: remove `where`");
    }
}

fn returns_of(sig: &Signature, role: Role, errors: &mut Errors) -> Returns {
    let ty = match &sig.output {
        ReturnType::Default => {
            if role == Role::Split {
                errors.at(&sig.ident, "a split must return the parts: a `Vec`, an iterator or a stream of messages");
            }
            return Returns::Nothing;
        }
        ReturnType::Type(_, ty) => &**ty,
    };
    if role != Role::Split && !is_output(ty, errors) {
        return Returns::Nothing;
    }
    if types::is_named(ty, "Result") { Returns::Result(ty.clone()) } else { Returns::Value(ty.clone()) }
}

/// Checks an output type, as far as its tokens allow. Returns whether it can be used in the `impl` of the message.
fn is_output(ty: &Type, errors: &mut Errors) -> bool {
    match types::borrow(ty) {
        Some(Borrow::Reference(reference, owned)) => {
            errors
                .at(reference, format!("a task must return an owned value, since its output is stored: use `{owned}`"));
        }
        Some(Borrow::Lifetime(lifetime)) => {
            errors.at(lifetime, "a task must return an owned value: use a type without a lifetime");
        }
        None => {}
    }
    if let Type::Never(never) = types::strip(ty) {
        errors.at(never, "a task must return: one that never does has no outcome");
        return false;
    }
    if let Some(found) = types::impl_trait(ty) {
        let message = "the output of a task has one type, which is part of its schema: use a concrete type instead of \
                       `impl`; the parts of a job are returned by `#[task(part)]`";
        errors.at(found, message);
        return false;
    }
    true
}
