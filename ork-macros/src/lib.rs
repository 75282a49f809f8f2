//! The `#[task]` attribute of ork. Use it as `ork::task`: its expansion calls the `ork` of the very same version.
//!
//! Start with `task::expand`, the four steps of an expansion; `ork-derive-tests` shows what they make.

use proc_macro::TokenStream;

mod task;
#[cfg(feature = "workflow")]
mod workflow;

/// Makes a function a task, or the split or the join of one.
///
/// The function stays as it is and can be called as ever. Beside it stands a *message*: a struct of the same name, to
/// submit a job with, whose fields are the inputs.
///
/// ```
/// use ork::{Context, Parts, Result, task};
///
/// /// Counts the words of one text.
/// #[task(retries = 3, timeout = "30s")]
/// async fn count(text: String, context: Context) -> Result<usize> {
///     context.log("counting");
///     Ok(text.split_whitespace().count())
/// }
///
/// /// Makes one part of each paragraph.
/// #[task(part)]
/// fn count_part(book: String) -> impl Iterator<Item = count> {
///     let paragraphs: Vec<_> = book.split("\n\n").map(String::from).collect();
///     paragraphs.into_iter().map(|text| count { text })
/// }
///
/// /// Adds them up.
/// #[task(join)]
/// fn count_join(parts: Parts<usize>) -> Result<usize> {
///     parts.all_ok()?.into_iter().sum()
/// }
///
/// assert_eq!(count_part("a b\n\nc".into()).count(), 2);
/// assert_eq!(count_join(Parts::for_test([Ok(2), Ok(1)])).unwrap(), 3);
/// ```
///
/// # Parameters
///
/// | parameter | is given |
/// |---|---|
/// | `name: T` | the property `name` of the message; an `Option` may be left out |
/// | `input: T`, as the only input | the whole message |
/// | `context: Context` | what the task knows of its job and may ask of ork |
/// | `state: State<T>` | what the application gave to its tasks |
/// | `parts: Parts<T>`, in a join | the outcomes of the parts |
///
/// An input is owned and derives `serde::Deserialize`, `serde::Serialize` and `schemars::JsonSchema`. `Context`,
/// `State` and `Parts` are known by the last word of the type's path. Where that is wrong a mark on the parameter says
/// what it is: `#[context]` and `#[state]` for an alias, `#[input]` for a type of your own that is called like one of
/// ork's. A documentation comment on a parameter describes it in the task's schema.
///
/// ```
/// mod my {
///     #[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
///     pub struct Context(pub String);
/// }
/// type Job = ork::Context;
///
/// #[ork::task]
/// fn tell(
///     /// What the text is about.
///     #[input] context: my::Context,
///     #[context] job: Job,
/// ) {
///     job.log(context.0);
/// }
/// ```
///
/// # What it returns
///
/// Nothing, a value that derives `serde::Serialize` and `schemars::JsonSchema`, or a `Result` of one whose error is an
/// error of any kind: every `std::error::Error`, `anyhow::Error`, `ork::Error`, a `String`. A `Result` goes by that
/// name, be it `ork::Result<T>` or `io::Result<T>`; one under another name is refused. `fn` and `async fn` both do: a
/// `fn` runs where it may block.
///
/// # Split and join
///
/// The functions of a task `x` belong together by their names: `x_part` is its split and `x_join` its join.
///
/// - `#[task(part)] fn x_part(..)` takes the inputs of the whole job and returns the parts, as messages `x { .. }`: in a
///   `Vec`, from any iterator or any `Stream`, each of them alone or in a `Result`. Nothing is pulled before there is
///   room for it, so there may be any number of parts.
/// - `#[task] fn x(..)` is called for each part.
/// - `#[task(join)] fn x_join(parts: Parts<T>)` is called when every part has ended. `T` is what `x` returns.
///   That it is due, and what it returned, is recorded exactly once; like each function it is executed at least once: a worker
///   that dies inside of it has it called again.
///
/// `x_part { .. }` submits the whole job and `x { .. }` one run of the function alone. The three stand in one crate.
///
/// # A task that splits itself
///
/// A task without a split may make its parts while it runs, with `Context::split`. Each part is a call of the same
/// function with the same input, in which `Context::is_part` is true. Such a task may have a join, which returns what the
/// task returns: it runs for the jobs that have split themselves, and only for those.
///
/// ```
/// use ork::{Context, Parts, Result, task};
///
/// /// Adds up numbers, a hundred at a time if they are many.
/// #[task(tolerate = 1)]
/// async fn sum(numbers: Vec<u64>, context: Context) -> Result<u64> {
///     if context.is_part() {
///         return Ok(context.part_data::<Vec<u64>>()?.into_iter().sum());
///     }
///     if numbers.len() > 100 {
///         context.split_into(numbers.chunks(100)).await?;
///         return Ok(0);
///     }
///     Ok(numbers.into_iter().sum())
/// }
///
/// #[task(join)]
/// fn sum_join(parts: Parts<u64>) -> Result<u64> {
///     parts.all_ok()?.into_iter().sum()
/// }
/// ```
///
/// # Names
///
/// A task is called like its function, and a `main` like its module; `name = ".."` says otherwise. Names are part of
/// what is sent between programs: another name is another task.
///
/// # Options
///
/// | option | on | what it says |
/// |---|---|---|
/// | `part`, `join` | | the function is the split or the join |
/// | `name = "resize"` | `x` | the name of the task |
/// | `queue = "slow"` | `x` | the queue it shares with others; by default it has its own |
/// | `priority = 9` | `x` | from 0 to 9; higher goes first |
/// | `concurrency = 4` | `x` | how many calls of it may run at once, over all workers of a store |
/// | `concurrency(4, key = "tenant")` | `x` | the same for each value of an input; values are compared as JSON values: `1` is `1.0` |
/// | `unique = "report"` | `x` | a key: of all jobs with it one at a time has not ended, and others are refused |
/// | `retries = 3` | each | attempts after the first |
/// | `backoff = "1s"` | each | the pause before the first retry; it doubles up to ten minutes, or stays if it is longer |
/// | `timeout = "1h 30m"` | each | how long one attempt may take |
/// | `chunk = 100` | `x_part`, or an `x` that splits itself | how many parts go to the store at once |
/// | `on_error = "stop"` | as `chunk` | a failed part skips those that have not started; `"finish"` runs them all |
/// | `tolerate = "5%"`, `= 3` | as `chunk` | how many parts may fail in a job that succeeds |
/// | `crate = "other"` | each | the path of ork's crate, if it is not `ork` |
///
/// Durations are numbers with `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
///
/// Every mistake of an item is reported at once, at the words that are wrong, and the function is still there for those
/// that call it.
#[proc_macro_attribute]
pub fn task(words: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(words.into(), &item.into()).into()
}

/// A workflow that is part of the program: `workflow!(pub NAME = "file.yaml")` makes a static of that name.
///
/// The path starts where the source file is, as that of `include_str!` does. Everything that is wrong with the workflow and can be
/// known while the program is built is a compile error: its language, its references, its graph. What its tasks take and
/// return is known when the program is linked: beside the static stands a test that checks that, so that `cargo test` fails
/// where a type does not fit, and every run checks it once more.
///
/// # Errors
///
/// All that is wrong at once, with the places in the workflow's file.
#[cfg(feature = "workflow")]
#[proc_macro]
pub fn workflow(input: TokenStream) -> TokenStream {
    workflow::expand(input.into()).into()
}
