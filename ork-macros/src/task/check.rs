//! Rules that concern several options, or options and the function. Rules about a single option are in `value`.

use syn::ext::IdentExt as _;

use super::args::Args;
use super::errors::Errors;
use super::function::Function;
use super::model::{Model, Shape};
use super::options::{Place, Role, list, place};
use super::params::ParamKind;
use super::value;

/// Returns the role that the options select.
pub(crate) fn role(args: &Args, errors: &mut Errors) -> Role {
    if let (Some(_), Some(join)) = (args.part.ident(), args.join.ident()) {
        errors.at(join, "a function is either a split (`part`) or a join (`join`): write two functions");
    }
    match (args.part.ident(), args.join.ident()) {
        (Some(_), _) => Role::Split,
        (None, Some(_)) => Role::Join,
        (None, None) => Role::Work,
    }
}

/// Checks the options together.
pub(crate) fn check(args: &Args, role: Role, function: &Function, errors: &mut Errors) {
    check_placement(args, role, function, errors);
    check_backoff(args, errors);
    check_name(args, role, function, errors);
}

/// Rejects options of the task on its split, which would be ignored there, and options about parts on the join.
fn check_placement(args: &Args, role: Role, function: &Function, errors: &mut Errors) {
    let name = function.sig.ident.unraw().to_string();
    let work = name.strip_suffix(role.suffix()).unwrap_or(&name);
    for option in args.given() {
        match (place(&option.to_string()), role) {
            (Some(Place::Work), Role::Split | Role::Join) => {
                let message = format!("`{option}` applies to the whole task: move it to `#[task] fn {work}`");
                errors.at(option, message);
            }
            (Some(Place::Split), Role::Join) => {
                let message = format!(
                    "`{option}` applies to the parts: move it to the split, `#[task(part)] fn {work}_part`, or to \
                     `#[task] fn {work}` if that splits its job itself"
                );
                errors.at(option, message);
            }
            (Some(Place::Any | Place::Work | Place::Split) | None, _) => {}
        }
    }
}

/// Rejects a pause between attempts if there is only one attempt.
fn check_backoff(args: &Args, errors: &mut Errors) {
    if let (Some(option), None) = (args.backoff.ident(), args.retries.ident()) {
        errors.at(option, "`backoff` is the pause before a retry: it requires `retries = n`");
    }
}

/// Rejects a key that no message has, because all messages would share one limit. The fields of a whole body are not
/// known here.
pub(crate) fn check_limit_key(args: &Args, model: &Model, errors: &mut Errors) {
    let Some(key) = args.concurrency.value().and_then(|concurrency| concurrency.key.as_ref()) else { return };
    let is_whole = model.params.iter().any(|param| param.kind == ParamKind::Body);
    let inputs: Vec<_> = model.inputs().map(|param| param.name.unraw().to_string()).collect();
    if model.shape < Shape::Task || is_whole || inputs.contains(&key.value()) {
        return;
    }
    let existing = if inputs.is_empty() {
        "the task has no inputs".to_owned()
    } else {
        format!("the inputs are {}", list(&inputs))
    };
    errors.at(
        key,
        format!("the key of a limit must be an input of the task, and `{}` is not one: {existing}", key.value()),
    );
}

/// Names are part of the wire format. A Rust name may contain letters that the name of a queue may not.
fn check_name(args: &Args, role: Role, function: &Function, errors: &mut Errors) {
    if role == Role::Work && args.name.ident().is_none() {
        let ident = &function.sig.ident;
        if let Some(problem) = value::name_problem(&ident.unraw().to_string()) {
            errors.at(ident, format!("the name of the task {problem}; set another one with `#[task(name = \"..\")]`"));
        }
    }
}
