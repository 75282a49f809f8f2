//! All forms in which a split may return its parts, and the arguments of a join.

use std::io;

use futures_util::stream::{self, Stream, StreamExt as _};
use ork::__private::{CallError, Items, Role, Run};
use ork::{Context, Parts, Result, State, task};
use serde_json::{Value, json};

use crate::{call_with, def, discover, now, run};

/// Defines the tasks of the splits.
macro_rules! halves {
    ($($name:ident)*) => { $(
        #[task]
        pub(crate) fn $name(n: u32) -> u32 {
            n / 2
        }
    )* };
}

halves! { as_vec as_option as_iterator as_result as_results as_both as_stream as_stream_of_results as_failing as_boxed }

#[task(part, chunk = 7, on_error = "stop", tolerate = "2.5%")]
pub(crate) fn as_vec_part(numbers: Vec<u32>) -> Vec<as_vec> {
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
    (0..input).map(|n| if n == 2 { Err(io::Error::other("two")) } else { Ok(as_results { n }) }).collect()
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
async fn as_stream_of_results_part(input: u32) -> Result<impl Stream<Item = Result<as_stream_of_results>>> {
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
pub(crate) async fn as_vec_join(context: Context, parts: Parts<u32>, #[state] state: State<u32>) -> Result<u32> {
    let sum: u32 = parts.ok().collect().await?.into_iter().sum();
    Ok(sum + context.attempt() + *state)
}

#[task(join)]
pub(crate) fn as_option_join(parts: Parts<u32>) {
    assert!(parts.is_empty());
}

pub(crate) fn split(name: &str, body: &Value) -> std::result::Result<Vec<Value>, CallError> {
    let call = call_with(body.to_string());
    let items = match def(name, Role::Split).run {
        Run::AsyncSplit(run) => now(run(call)),
        Run::BlockingSplit(run) => run(call),
        Run::Async(_) | Run::Blocking(_) => panic!("{name} is not a split"),
    }?;
    let items: Vec<_> = match items {
        Items::Iterator(items) => items.collect(),
        Items::Stream(items) => now(items.collect()),
    };
    items.into_iter().map(|item| item.map(|json| serde_json::from_slice(&json).unwrap())).collect()
}

#[test]
fn every_form_of_split_yields_its_messages() {
    let numbers = |n: u32| (0..n).map(|n| json!({"n": n})).collect::<Vec<_>>();
    assert_eq!(split("as_vec", &json!({"numbers": [0, 1]})).unwrap(), numbers(2));
    assert_eq!(split("as_option", &json!({"n": 0})).unwrap(), numbers(1));
    assert_eq!(split("as_option", &json!({})).unwrap(), numbers(0));
    for name in ["as_iterator", "as_result", "as_both", "as_stream", "as_stream_of_results", "as_boxed"] {
        assert_eq!(split(name, &json!(3)).unwrap(), numbers(3), "{name}");
    }
    assert_eq!(split("discover", &json!({"depths": [4]})).unwrap(), [json!({"depth": 4})]);
}

#[test]
fn split_can_fail_before_and_between_its_parts() {
    let why = |result: std::result::Result<Vec<Value>, CallError>| result.unwrap_err().into_failure();
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
fn split_is_lazy() {
    let Run::BlockingSplit(run) = def("as_iterator", Role::Split).run else { panic!("it is a `fn`") };
    let Items::Iterator(items) = run(call_with("4000000000")).unwrap() else { panic!("it is an iterator") };
    assert_eq!(items.take(2).count(), 2);
}

#[test]
fn join_receives_the_parts() {
    assert_eq!(run(def("as_vec", Role::Join), call_with("anything")).unwrap(), 1 + 7);
    assert_eq!(run(def("as_option", Role::Join), call_with("")).unwrap(), Value::Null);
    let joined = discover::main_join(Parts::for_test([Ok(1), Ok(2)]));
    assert_eq!(joined.unwrap(), 3);
}
