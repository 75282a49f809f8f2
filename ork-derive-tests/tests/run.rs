//! What every form of parameter and of return does when its row of the table is called, good and bad inputs alike.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::task::{Poll, Waker};

use futures_util::stream::{self, Stream, StreamExt as _};
use ork::__private::{
    self as row, Answer, Call, CallError, Duration, InputError, Items, JoinOf, Joined, Kind,
    OnError, Returned, Role, Run, States, TaskDef, TaskMessage, Tolerate,
};
use ork::{Context, Parts, Registry, Result, State, task};
use serde_json::{Value, json};

// ---- the tasks

/// A point, to find the path of an error in.
#[derive(Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct Point {
    x: f64,
    y: f64,
}

/// Adds two numbers.
///
/// Slowly.
#[task(
    retries = 3,
    backoff = "500ms",
    timeout = "1h 30m",
    queue = "sums",
    priority = 9
)]
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
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("{path} is not there"),
    ))
}

#[task]
async fn own_error(
    _value: u8,
) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
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

/// A state by another name, which takes a mark.
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
        parts
            .all_ok()?
            .into_iter()
            .map(|depth| depth.map(u64::from))
            .sum()
    }
}

mod names {
    use ork::task;

    /// Types of one's own that are called like ork's.
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

// ---- the splits, one a form

/// Makes the tasks of the splits.
macro_rules! halves {
    ($($name:ident)*) => { $(
        #[task]
        fn $name(n: u32) -> u32 {
            n / 2
        }
    )* };
}

halves! { as_vec as_option as_iterator as_result as_results as_both as_stream as_stream_of_results as_failing as_boxed }

#[task(part, chunk = 7, on_error = "stop", tolerate = "2.5%")]
fn as_vec_part(numbers: Vec<u32>) -> Vec<as_vec> {
    numbers.into_iter().map(|n| as_vec { n }).collect()
}

#[task(part, tolerate = 3)]
fn as_option_part(n: Option<u32>) -> Option<as_option> {
    n.map(|n| as_option { n })
}

#[task(part)]
fn as_iterator_part(input: u32) -> impl Iterator<Item = as_iterator> {
    (0..input).map(|n| as_iterator { n })
}

#[task(part)]
fn as_result_part(input: u32) -> io::Result<impl Iterator<Item = as_result>> {
    if input == 0 {
        return Err(io::Error::other("nothing to do"));
    }
    Ok((0..input).map(|n| as_result { n }))
}

#[task(part)]
fn as_results_part(input: u32) -> Vec<io::Result<as_results>> {
    (0..input)
        .map(|n| {
            if n == 2 {
                Err(io::Error::other("two"))
            } else {
                Ok(as_results { n })
            }
        })
        .collect()
}

#[task(part)]
fn as_both_part(input: u32) -> Result<Vec<Result<as_both>>> {
    Ok((0..input).map(|n| Ok(as_both { n })).collect())
}

#[task(part)]
async fn as_stream_part(input: u32) -> impl Stream<Item = as_stream> {
    stream::iter(0..input).map(|n| as_stream { n })
}

#[task(part)]
async fn as_stream_of_results_part(
    input: u32,
) -> Result<impl Stream<Item = Result<as_stream_of_results>>> {
    Ok(stream::iter(0..input).map(|n| Ok(as_stream_of_results { n })))
}

#[task(part)]
async fn as_failing_part(_context: Context) -> Result<Vec<as_failing>> {
    Err(ork::Error::permanent("never"))
}

#[task(part)]
fn as_boxed_part(input: u32) -> Box<dyn Iterator<Item = as_boxed> + Send> {
    Box::new((0..input).map(|n| as_boxed { n }))
}

#[task(join, retries = 1)]
async fn as_vec_join(
    context: Context,
    parts: Parts<u32>,
    #[state] state: State<u32>,
) -> Result<u32> {
    let sum: u32 = parts.ok().collect().await?.into_iter().sum();
    Ok(sum + context.attempt() + *state)
}

#[task(join)]
fn as_option_join(parts: Parts<u32>) {
    assert!(parts.is_empty());
}

// ---- how they are called

fn def(name: &str, role: Role) -> &'static TaskDef {
    let registry = Registry::collect().unwrap();
    let task = *registry.get(name).unwrap();
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
    Call {
        body: body.into().into(),
        context: Context::for_test(),
        states,
        parts: None,
    }
}

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("these tasks wait for nothing"),
    }
}

fn run(def: &TaskDef, call: Call) -> std::result::Result<Value, CallError> {
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

fn split(name: &str, body: &Value) -> std::result::Result<Vec<Value>, CallError> {
    let call = call_with(body.to_string());
    let items = match def(name, Role::Split).run {
        Run::AsyncSplit(run) => now(run(call)),
        Run::BlockingSplit(run) => run(call),
        Run::Async(_) | Run::Blocking(_) => panic!("{name} is no split"),
    }?;
    let items: Vec<_> = match items {
        Items::Iterator(items) => items.collect(),
        Items::Stream(items) => now(items.collect()),
    };
    items
        .into_iter()
        .map(|item| item.map(|json| serde_json::from_slice(&json).unwrap()))
        .collect()
}

// ---- what they do

#[test]
fn named_inputs_are_read_by_name_in_any_order() {
    assert_eq!(work("add", &json!({"right": 2, "left": 1})).unwrap(), 3);
    assert_eq!(work("plain", &json!({"text": "abc"})).unwrap(), 3);
    assert_eq!(work("renamed.task-1", &json!({"text": "a"})).unwrap(), "a!");
}

#[test]
fn an_option_may_be_left_out() {
    assert_eq!(work("add", &json!({"left": 1})).unwrap(), 1);
    assert_eq!(work("add", &json!({"left": 1, "right": null})).unwrap(), 1);
}

#[test]
fn a_task_that_returns_nothing_answers_null() {
    assert_eq!(work("nothing", &json!({})).unwrap(), Value::Null);
    assert_eq!(work("nothing_async", &json!({})).unwrap(), Value::Null);
}

#[test]
fn raw_identifiers_are_plain_names_on_the_wire() {
    assert_eq!(work("type", &json!({"match": 5})).unwrap(), 5);
    assert_eq!(
        split("type", &json!({})).unwrap(),
        [json!({"match": 1}), json!({"match": 2})]
    );
    assert_eq!(r#type { r#match: 5 }.to_json().unwrap(), r#"{"match":5}"#);
}

#[test]
fn an_input_called_input_is_the_whole_body() {
    assert_eq!(
        work(
            "whole",
            &json!({"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}})
        )
        .unwrap(),
        2
    );
    assert_eq!(
        whole {
            input: BTreeMap::new()
        }
        .to_json()
        .unwrap(),
        "{}"
    );
    assert_eq!(
        why(work("whole", &json!([]))),
        "`the body`: invalid type: sequence, expected a map"
    );
    assert_eq!(
        why(work("whole", &json!({"a": {"x": 1, "y": "no"}}))),
        "`a.y`: invalid type: string \"no\", expected f64"
    );
}

#[test]
fn context_and_states_are_given() {
    assert_eq!(work("given", &json!({"label": "a"})).unwrap(), "a 1 7");
    assert_eq!(
        work("marked", &json!({"own": 1, "more": 0})).unwrap(),
        1 + 1 + 7
    );
    let mut call = call_with(r#"{"label": "a"}"#);
    call.states = States::default();
    assert!(matches!(
        run(def("given", Role::Work), call),
        Err(CallError::NoState("u32"))
    ));
}

#[test]
fn errors_keep_their_words() {
    assert_eq!(
        why(work("io_error", &json!({"path": "a"}))),
        "a is not there"
    );
    assert_eq!(why(work("own_error", &json!({"_value": 1}))), "no");
    assert!(matches!(
        work("not_json", &json!(1)),
        Err(CallError::Output(_))
    ));
}

#[test]
fn a_wrong_input_says_which_and_what_was_expected() {
    assert_eq!(
        why(work("add", &json!({"left": "1"}))),
        "`left`: invalid type: string \"1\", expected i64"
    );
    assert_eq!(
        why(work("add", &json!({"right": 1}))),
        "`left` is missing: expected integer"
    );
    assert_eq!(
        why(work("nested", &json!({}))),
        "`points` is missing: expected array `Array_of_Point`"
    );
    assert_eq!(
        why(work(
            "nested",
            &json!({"points": [{"x": 1, "y": 2}, {"x": 1, "y": []}]})
        )),
        "`points[1].y`: invalid type: sequence, expected f64"
    );
    assert_eq!(
        why(work("nested", &json!({"points": [{"x": 1}]}))),
        "`points[0]`: missing field `y`"
    );
}

#[test]
fn an_unknown_input_is_refused_with_the_nearest_one() {
    assert_eq!(
        why(work("add", &json!({"left": 1, "rihgt": 2}))),
        "`rihgt` is not an input: expected `left`, `right`; did you mean `right`?"
    );
    assert_eq!(
        why(work("nothing", &json!({"a": 1}))),
        "`a` is not an input: expected no inputs"
    );
}

#[test]
fn a_body_that_is_no_object_or_no_json_is_refused() {
    assert_eq!(
        why(work("add", &json!([1, 2]))),
        "expected an object with `left`, `right`, found sequence"
    );
    assert_eq!(
        why(work("add", &json!(null))),
        "expected an object with `left`, `right`, found null"
    );
    let add = def("add", Role::Work);
    for body in ["", "{", "{\"left\": 1} x", "left=1"] {
        let error = run(add, call_with(body)).unwrap_err();
        assert!(
            matches!(error, CallError::Input(InputError::NotJson { .. })),
            "{body}: {error:?}"
        );
    }
    assert_eq!(
        why(run(add, call_with(r#"{"left": 1, "left": 2}"#))),
        "`left` is given twice"
    );
}

#[test]
fn every_form_of_split_yields_its_messages() {
    let numbers = |n: u32| (0..n).map(|n| json!({"n": n})).collect::<Vec<_>>();
    assert_eq!(
        split("as_vec", &json!({"numbers": [0, 1]})).unwrap(),
        numbers(2)
    );
    assert_eq!(split("as_option", &json!({"n": 0})).unwrap(), numbers(1));
    assert_eq!(split("as_option", &json!({})).unwrap(), numbers(0));
    for name in [
        "as_iterator",
        "as_result",
        "as_both",
        "as_stream",
        "as_stream_of_results",
        "as_boxed",
    ] {
        assert_eq!(split(name, &json!(3)).unwrap(), numbers(3), "{name}");
    }
    assert_eq!(
        split("discover", &json!({"depths": [4]})).unwrap(),
        [json!({"depth": 4})]
    );
}

#[test]
fn a_split_can_fail_before_and_between_its_parts() {
    let why =
        |result: std::result::Result<Vec<Value>, CallError>| result.unwrap_err().into_failure();
    assert_eq!(why(split("as_result", &json!(0))).message, "nothing to do");
    assert_eq!(why(split("as_results", &json!(5))).message, "two");
    let never = why(split("as_failing", &json!({})));
    assert_eq!((never.message.as_str(), never.retryable), ("never", false));
    assert_eq!(
        why(split("as_vec", &json!({"numbers": 1}))).message,
        "`numbers`: invalid type: integer `1`, expected a sequence"
    );
}

#[test]
fn a_split_is_lazy() {
    let Run::BlockingSplit(run) = def("as_iterator", Role::Split).run else {
        panic!("it is a `fn`")
    };
    let Items::Iterator(items) = run(call_with("4000000000")).unwrap() else {
        panic!("it is an iterator")
    };
    assert_eq!(items.take(2).count(), 2);
}

#[test]
fn a_join_is_given_the_parts() {
    assert_eq!(
        run(def("as_vec", Role::Join), call_with("anything")).unwrap(),
        1 + 7
    );
    assert_eq!(
        run(def("as_option", Role::Join), call_with("")).unwrap(),
        Value::Null
    );
    let joined = discover::main_join(Parts::for_test([Ok(1), Ok(2)]));
    assert_eq!(joined.unwrap(), 3);
}

#[test]
fn a_function_stays_a_function() {
    assert_eq!(now(add(1, Some(2))).unwrap(), 3);
    assert_eq!(as_vec_part(vec![2]).len(), 1);
    assert_eq!(discover::main(3), 3);
}

#[test]
fn a_message_says_what_it_runs_and_what_that_answers() {
    fn answers<M: TaskMessage<Answer = A>, A: Answer<Output = T>, T>() -> (&'static str, Kind) {
        (M::TASK, M::KIND)
    }
    fn joins<X: Joined<Output = T>, T>() {}
    assert_eq!(answers::<add, Returned<i64>, i64>(), ("add", Kind::Item));
    assert_eq!(
        answers::<nothing, Returned<()>, ()>(),
        ("nothing", Kind::Item)
    );
    assert_eq!(
        answers::<io_error, Returned<String>, String>(),
        ("io_error", Kind::Item)
    );
    assert_eq!(
        answers::<misnamed, _, String>(),
        ("renamed.task-1", Kind::Item)
    );
    assert_eq!(answers::<discover::main, _, u8>(), ("discover", Kind::Item));
    assert_eq!(
        answers::<discover::main_part, JoinOf<discover::main>, u64>(),
        ("discover", Kind::Whole)
    );
    assert_eq!(answers::<as_vec_part, _, u32>(), ("as_vec", Kind::Whole));
    joins::<as_option, ()>();
    let message = add {
        left: 1,
        right: None,
    };
    assert_eq!(message.to_json().unwrap(), r#"{"left":1,"right":null}"#);
    assert_eq!(format!("{message:?}"), r#"add {"left":1,"right":null}"#);
}

#[test]
fn the_row_holds_the_options() {
    let options = def("add", Role::Work).options;
    assert_eq!(
        (options.retries, options.priority, options.queue),
        (3, 9, Some("sums"))
    );
    assert_eq!(options.backoff, Some(Duration::from_millis(500)));
    assert_eq!(options.timeout, Some(Duration::from_secs(5_400)));
    let split = def("as_vec", Role::Split).options;
    assert_eq!(
        (split.chunk, split.on_error, split.tolerate),
        (Some(7), OnError::Stop, Some(Tolerate::Percent(2.5)))
    );
    assert_eq!(
        def("as_option", Role::Split).options.tolerate,
        Some(Tolerate::Count(3))
    );
    assert_eq!(def("as_vec", Role::Join).options.retries, 1);
    let none = def("nothing", Role::Work).options;
    assert_eq!(
        (none.retries, none.timeout, none.on_error),
        (0, None, OnError::Finish)
    );
}

#[test]
fn the_row_describes_the_function() {
    let add = def("add", Role::Work);
    assert_eq!(add.docs, "Adds two numbers.\n\nSlowly.");
    assert_eq!(add.function, "run::add");
    assert!(
        add.location.file.ends_with("tests/run.rs") && add.location.line > 1,
        "{}",
        add.location
    );
    assert_eq!(
        def("discover", Role::Join).function,
        "run::discover::main_join"
    );
    let mut generator = schemars::SchemaGenerator::default();
    let [
        row::Param::Field { docs: left, .. },
        row::Param::Field {
            name,
            docs,
            schema,
            optional,
        },
    ] = add.params
    else {
        panic!("{:?}", add.params)
    };
    assert_eq!(
        (*left, *name, *docs),
        ("The first.", "right", "The second,\nif any.")
    );
    assert!(optional());
    assert_eq!(
        schema(&mut generator).get("type"),
        Some(&json!(["integer", "null"]))
    );
    assert_eq!(
        (add.output)(&mut generator).get("type"),
        Some(&json!("integer"))
    );
    assert_eq!(
        (def("nothing", Role::Work).output)(&mut generator).get("type"),
        Some(&json!("null"))
    );
    let params = def("given", Role::Work).params;
    assert!(
        matches!(
            params,
            [
                row::Param::Field { .. },
                row::Param::Context,
                row::Param::State { .. },
                row::Param::State { .. }
            ]
        ),
        "{params:?}"
    );
    assert!(matches!(
        def("whole", Role::Work).params,
        [row::Param::Body { .. }]
    ));
    assert!(matches!(
        def("as_vec", Role::Join).params,
        [
            row::Param::Context,
            row::Param::Parts,
            row::Param::State { .. }
        ]
    ));
}

#[test]
fn states_are_checked_at_the_start() {
    let registry = Registry::collect().unwrap();
    let mut states = States::default();
    assert!(states.insert(1_u32));
    let missing: Vec<_> = registry
        .check_states(&states)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        matches!(missing.as_slice(), [one] if one.contains("needs a `State<u64>`")),
        "{missing:?}"
    );
}
