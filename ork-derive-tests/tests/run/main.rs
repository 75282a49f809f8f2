//! Calls tasks with every form of parameter and return value through their rows, with valid and invalid inputs.

#![expect(
    clippy::allow_attributes,
    clippy::needless_pass_by_value,
    clippy::panic,
    clippy::unnecessary_wraps,
    clippy::unused_async,
    clippy::unwrap_used,
    reason = "these functions test every form of a task"
)]

mod rows;
mod splits;

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::task::{Poll, Waker};

use ork::__private::{Call, CallError, InputError, Role, Run, States, TaskDef, TaskMessage as _};
use ork::{Context, Registry, Result, State, task};
use serde_json::{Value, json};

use crate::splits::{as_vec_part, split};

// ---- the tasks

/// An input with fields, so that errors have a path.
#[derive(Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct Point {
    x: f64,
    y: f64,
}

/// Adds two numbers.
///
/// Slowly.
#[task(retries = 3, backoff = "500ms", timeout = "1h 30m", queue = "sums", priority = 9)]
async fn add(
    /// The first.
    left: i64,
    #[doc = "The second,"]
    #[doc = "if any."]
    right: Option<i64>,
) -> Result<i64> {
    Ok(left + right.unwrap_or(0))
}

#[task]
fn nothing() {}

#[task]
async fn nothing_async() {}

#[task]
fn plain(text: String) -> usize {
    text.len()
}

#[task(name = "renamed.task-1")]
fn misnamed(mut text: String) -> String {
    text.push('!');
    text
}

#[task]
fn r#type(r#match: u8) -> u8 {
    r#match
}

#[task(part)]
fn type_part() -> [r#type; 2] {
    [r#type { r#match: 1 }, r#type { r#match: 2 }]
}

#[task]
fn io_error(path: String) -> io::Result<String> {
    Err(io::Error::new(io::ErrorKind::NotFound, format!("{path} is not there")))
}

#[task]
async fn own_error(_value: u8) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Err("no".into())
}

#[task]
fn whole(input: BTreeMap<String, Point>) -> usize {
    input.len()
}

#[task]
fn nested(points: Vec<Point>) -> usize {
    points.len()
}

#[task]
fn given(label: String, context: Context, state: State<u32>, #[state] _: Wide) -> String {
    format!("{label} {} {}", context.attempt(), *state)
}

/// A state under another name, which needs an attribute on the parameter.
type Wide = State<u64>;

#[task]
fn not_json(input: u8) -> BTreeMap<(u8, u8), u8> {
    BTreeMap::from([((input, input), input)])
}

mod discover {
    use ork::task;

    #[task]
    pub(super) fn main(depth: u8) -> u8 {
        depth
    }

    #[task(part)]
    pub(super) fn main_part(depths: Vec<u8>) -> impl Iterator<Item = main> {
        depths.into_iter().map(|depth| main { depth })
    }

    #[task(join)]
    pub(super) fn main_join(parts: ork::Parts<u8>) -> ork::Result<u64> {
        parts.all_ok()?.into_iter().map(|depth| depth.map(u64::from)).sum()
    }
}

mod names {
    use ork::task;

    /// A user's type with the name of one of ork's types.
    #[derive(Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
    pub(super) struct Context(pub(super) u8);

    type Job = ork::Context;
    type Shared = ork::State<u32>;

    #[task]
    pub(super) fn marked(
        #[input] own: Context,
        #[context] job: Job,
        #[state] shared: Shared,
        #[allow(unused_variables, reason = "the attribute stays on the function")] more: u8,
    ) -> u32 {
        u32::from(own.0) + job.attempt() + *shared
    }
}

// ---- helpers that call them

fn def(name: &str, role: Role) -> TaskDef {
    let registry = Registry::collect().unwrap();
    let task = registry.get(name).unwrap();
    match role {
        Role::Work => Some(task.work),
        Role::Split => task.split,
        Role::Join => task.join,
    }
    .unwrap()
}

fn call_with(body: impl Into<Vec<u8>>) -> Call {
    let mut states = States::default();
    assert!(states.insert(7_u32) && states.insert(8_u64));
    Call { body: body.into().into(), context: Context::for_test(), states, parts: None }
}

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("these tasks never wait"),
    }
}

fn run(def: TaskDef, call: Call) -> std::result::Result<Value, CallError> {
    let output = match def.run {
        Run::Async(run) => now(run(call)),
        Run::Blocking(run) => run(call),
        Run::AsyncSplit(_) | Run::BlockingSplit(_) => panic!("{} is a split", def.name),
    };
    output.map(|json| serde_json::from_slice(&json).unwrap())
}

fn work(name: &str, body: &Value) -> std::result::Result<Value, CallError> {
    run(def(name, Role::Work), call_with(body.to_string()))
}

fn why(result: std::result::Result<Value, CallError>) -> String {
    result.unwrap_err().into_failure().message
}

// ---- the tests

#[test]
fn named_inputs_are_read_by_name_in_any_order() {
    assert_eq!(work("add", &json!({"right": 2, "left": 1})).unwrap(), 3);
    assert_eq!(work("plain", &json!({"text": "abc"})).unwrap(), 3);
    assert_eq!(work("renamed.task-1", &json!({"text": "a"})).unwrap(), "a!");
}

#[test]
fn optional_inputs_may_be_omitted() {
    assert_eq!(work("add", &json!({"left": 1})).unwrap(), 1);
    assert_eq!(work("add", &json!({"left": 1, "right": null})).unwrap(), 1);
}

#[test]
fn task_without_return_value_returns_null() {
    assert_eq!(work("nothing", &json!({})).unwrap(), Value::Null);
    assert_eq!(work("nothing_async", &json!({})).unwrap(), Value::Null);
}

#[test]
fn raw_identifiers_are_plain_names_on_the_wire() {
    assert_eq!(work("type", &json!({"match": 5})).unwrap(), 5);
    assert_eq!(split("type", &json!({})).unwrap(), [json!({"match": 1}), json!({"match": 2})]);
    assert_eq!(r#type { r#match: 5 }.to_json().unwrap(), r#"{"match":5}"#);
}

#[test]
fn input_named_input_is_the_whole_body() {
    assert_eq!(work("whole", &json!({"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}})).unwrap(), 2);
    assert_eq!(whole { input: BTreeMap::new() }.to_json().unwrap(), "{}");
    assert_eq!(why(work("whole", &json!([]))), "`the body`: invalid type: sequence, expected a map");
    assert_eq!(
        why(work("whole", &json!({"a": {"x": 1, "y": "no"}}))),
        "`a.y`: invalid type: string \"no\", expected f64"
    );
}

#[test]
fn context_and_states_are_passed() {
    assert_eq!(work("given", &json!({"label": "a"})).unwrap(), "a 1 7");
    assert_eq!(work("marked", &json!({"own": 1, "more": 0})).unwrap(), 1 + 1 + 7);
    let mut call = call_with(r#"{"label": "a"}"#);
    call.states = States::default();
    assert!(matches!(run(def("given", Role::Work), call), Err(CallError::NoState("u32"))));
}

#[test]
fn errors_keep_their_messages() {
    assert_eq!(why(work("io_error", &json!({"path": "a"}))), "a is not there");
    assert_eq!(why(work("own_error", &json!({"_value": 1}))), "no");
    assert!(matches!(work("not_json", &json!(1)), Err(CallError::Output(_))));
}

#[test]
fn invalid_input_error_names_path_and_expected_type() {
    assert_eq!(why(work("add", &json!({"left": "1"}))), "`left`: invalid type: string \"1\", expected i64");
    assert_eq!(why(work("add", &json!({"right": 1}))), "`left` is missing: expected integer");
    assert_eq!(why(work("nested", &json!({}))), "`points` is missing: expected array `Array_of_Point`");
    assert_eq!(
        why(work("nested", &json!({"points": [{"x": 1, "y": 2}, {"x": 1, "y": []}]}))),
        "`points[1].y`: invalid type: sequence, expected f64"
    );
    assert_eq!(why(work("nested", &json!({"points": [{"x": 1}]}))), "`points[0]`: missing field `y`");
}

#[test]
fn unknown_input_error_suggests_the_nearest_name() {
    assert_eq!(
        why(work("add", &json!({"left": 1, "rihgt": 2}))),
        "unknown input `rihgt`: expected `left`, `right`; did you mean `right`?"
    );
    assert_eq!(why(work("nothing", &json!({"a": 1}))), "unknown input `a`: expected no inputs");
}

#[test]
fn body_that_is_not_a_json_object_is_rejected() {
    assert_eq!(why(work("add", &json!([1, 2]))), "expected an object with `left`, `right`, found sequence");
    assert_eq!(why(work("add", &json!(null))), "expected an object with `left`, `right`, found null");
    let add = def("add", Role::Work);
    for body in ["", "{", "{\"left\": 1} x", "left=1"] {
        let error = run(add, call_with(body)).unwrap_err();
        assert!(matches!(error, CallError::Input(InputError::NotJson { .. })), "{body}: {error:?}");
    }
    assert_eq!(why(run(add, call_with(r#"{"left": 1, "left": 2}"#))), "`left` is given twice");
}

#[test]
fn functions_can_still_be_called() {
    assert_eq!(now(add(1, Some(2))).unwrap(), 3);
    assert_eq!(as_vec_part(vec![2]).len(), 1);
    assert_eq!(discover::main(3), 3);
}
