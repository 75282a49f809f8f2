//! Rules that concern several options, or options and the function. Rules about a single option are in `value`.

use syn::ext::IdentExt as _;

use super::args::Args;
use super::errors::Errors;
use super::function::Function;
use super::model::{Model, Shape};
use super::params::What;
use super::value;
use super::words::{Place, Role, list, place};

/// Returns the role that the options select.
pub(crate) fn role(args: &Args, errors: &mut Errors) -> Role {
    if let (Some(_), Some(join)) = (args.part.word(), args.join.word()) {
        errors.at(join, "a function is either a split (`part`) or a join (`join`): write two functions");
    }
    match (args.part.word(), args.join.word()) {
        (Some(_), _) => Role::Split,
        (None, Some(_)) => Role::Join,
        (None, None) => Role::Work,
    }
}

/// Checks the options together.
pub(crate) fn check(args: &Args, role: Role, function: &Function, errors: &mut Errors) {
    options_stand_where_they_belong(args, role, function, errors);
    backoff_needs_retries(args, errors);
    the_function_can_name_the_task(args, role, function, errors);
}

/// Rejects options of the task on its split, which would be ignored there, and options about parts on the join.
fn options_stand_where_they_belong(args: &Args, role: Role, function: &Function, errors: &mut Errors) {
    let name = function.sig.ident.unraw().to_string();
    let work = name.strip_suffix(role.suffix()).unwrap_or(&name);
    for word in args.given() {
        match (place(&word.to_string()), role) {
            (Some(Place::Work), Role::Split | Role::Join) => {
                let message = format!("`{word}` applies to the whole task: move it to `#[task] fn {work}`");
                errors.at(word, message);
            }
            (Some(Place::Split), Role::Join) => {
                let message = format!(
                    "`{word}` applies to the parts: move it to the split, `#[task(part)] fn {work}_part`, or to \
                     `#[task] fn {work}` if that splits its job itself"
                );
                errors.at(word, message);
            }
            (Some(Place::Any | Place::Work | Place::Split) | None, _) => {}
        }
    }
}

/// Rejects a pause between attempts if there is only one attempt.
fn backoff_needs_retries(args: &Args, errors: &mut Errors) {
    if let (Some(word), None) = (args.backoff.word(), args.retries.word()) {
        errors.at(word, "`backoff` is the pause before a retry: it requires `retries = n`");
    }
}

/// Rejects a key that no message has, because all messages would share one limit. The fields of a whole body are not
/// known here.
pub(crate) fn the_key_is_an_input(args: &Args, model: &Model, errors: &mut Errors) {
    let Some(key) = args.concurrency.value().and_then(|concurrency| concurrency.key.as_ref()) else { return };
    let is_whole = model.params.iter().any(|param| param.what == What::Body);
    let inputs: Vec<_> = model.inputs().map(|param| param.name.unraw().to_string()).collect();
    if model.shape < Shape::Task || is_whole || inputs.contains(&key.value()) {
        return;
    }
    let there = if inputs.is_empty() {
        "the task has no inputs".to_owned()
    } else {
        format!("the inputs are {}", list(&inputs))
    };
    errors
        .at(key, format!("the key of a limit must be an input of the task, and `{}` is not one: {there}", key.value()));
}

/// Names are part of the wire format. A Rust name may contain letters that the name of a queue may not.
fn the_function_can_name_the_task(args: &Args, role: Role, function: &Function, errors: &mut Errors) {
    if role == Role::Work && args.name.word().is_none() {
        let ident = &function.sig.ident;
        if let Some(problem) = value::name_problem(&ident.unraw().to_string()) {
            errors.at(ident, format!("the name of the task {problem}; set another one with `#[task(name = \"..\")]`"));
        }
    }
}
