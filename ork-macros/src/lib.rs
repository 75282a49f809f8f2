//! The `#[task]` attribute of ork. Use it as `ork::task`: its expansion calls the `ork` of exactly the same version.
//!
//! Start reading with `task::expand`, which has the four steps of an expansion. `ork-derive-tests` shows the results.

use proc_macro::TokenStream;

mod task;
#[cfg(feature = "workflow")]
mod workflow;

/// Makes a function a task, or the split or the join of a task.
///
/// The function stays unchanged and can still be called. The attribute adds a *message*: a struct with the same name
/// and a field for each input, with which jobs are submitted.
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
/// | parameter | value |
/// |---|---|
/// | `name: T` | the property `name` of the message; an `Option` may be omitted |
/// | `input: T`, as the only input | the whole message |
/// | `context: Context` | the context of the job, with information about it and methods to submit further jobs |
/// | `state: State<T>` | a value that the application gave to its tasks |
/// | `parts: Parts<T>`, in a join | the outcomes of the parts |
///
/// An input is owned and derives `serde::Deserialize`, `serde::Serialize` and `schemars::JsonSchema`. `Context`,
/// `State` and `Parts` are recognized by the last segment of the type's path. Where that is wrong, an attribute on
/// the parameter states what it is: `#[context]` and `#[state]` for an alias, `#[input]` for a type of your own that
/// has the name of one of ork's types. A documentation comment on a parameter becomes its description in the schema
/// of the task.
///
/// ```
/// mod my {
///     #[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
///     pub struct Context(pub String);
/// }
/// type Job = ork::Context;
///
/// #[ork::task]
/// fn log_text(
///     /// What the text is about.
///     #[input] context: my::Context,
///     #[context] job: Job,
/// ) {
///     job.log(context.0);
/// }
/// ```
///
/// # Return values
///
/// A task returns nothing, a value that derives `serde::Serialize` and `schemars::JsonSchema`, or a `Result` of one.
/// The error can be any `std::error::Error`, `anyhow::Error`, `ork::Error` or a `String`. A `Result` is recognized by
/// its name, such as `ork::Result<T>` or `io::Result<T>`; under another name it is a compile error. Both `fn` and
/// `async fn` are allowed. A `fn` runs on a thread that may block.
///
/// # Split and join
///
/// The functions of a task `x` belong together by name: `x_part` is its split and `x_join` its join.
///
/// - `#[task(part)] fn x_part(..)` takes the inputs of the whole job and returns the parts as messages `x { .. }`: in
///   a `Vec`, any iterator or any `Stream`, each of them plain or in a `Result`. A part is taken only when there is
///   room for it, so there may be any number of parts.
/// - `#[task] fn x(..)` is called for each part.
/// - `#[task(join)] fn x_join(parts: Parts<T>)` is called when every part has ended. `T` is the type that `x`
///   returns. It is recorded exactly once that the join is due and what it returned. Like any function it is executed
///   at least once: if a worker dies during the call, the function is called again.
///
/// `x_part { .. }` submits the whole job and `x { .. }` a single run of the function. All three must be in one crate.
///
/// # Dynamic splits
///
/// A task without a split can create parts while it runs, with `Context::split`. Each part is a call of the same
/// function with the same input, in which `Context::is_part` returns `true`. Such a task may have a join, which must
/// return the same type as the task. The join runs only for jobs that have split themselves.
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
/// A task has the name of its function, or that of its module if the function is `main`; `name = ".."` overrides
/// this. Names are part of the messages between programs, so a task with another name is another task.
///
/// # Options
///
/// | option | on | meaning |
/// |---|---|---|
/// | `part`, `join` | | the function is the split or the join |
/// | `name = "resize"` | `x` | the name of the task |
/// | `queue = "slow"` | `x` | a queue that several tasks share; by default each task has its own |
/// | `priority = 9` | `x` | from 0 to 9; jobs with a higher priority run first |
/// | `concurrency = 4` | `x` | the number of calls that may run at once, over all workers of a store |
/// | `concurrency(4, key = "tenant")` | `x` | a limit for each value of an input, compared as JSON: `1` is `1.0` |
/// | `unique = "report"` | `x` | a unique key: a job is rejected while another one that holds the key is active |
/// | `retries = 3` | each | the number of attempts after the first one |
/// | `backoff = "1s"` | each | the pause before the first retry; doubles up to ten minutes, or stays if it is longer |
/// | `timeout = "1h 30m"` | each | the time limit of an attempt |
/// | `chunk = 100` | `x_part`, or an `x` that splits itself | the number of parts sent to the store at once |
/// | `on_error = "stop"` | as `chunk` | a failed part skips those that have not started; `"finish"` runs all |
/// | `tolerate = "5%"`, `= 3` | as `chunk` | the number of parts that may fail in a job that succeeds |
/// | `crate = "other"` | each | the path of ork's crate, if it is not `ork` |
///
/// Durations are numbers with `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
///
/// All mistakes of an item are reported together, at the tokens that are wrong. The function itself is still emitted,
/// so that its callers do not fail as well.
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(arguments.into(), &item.into()).into()
}

/// Embeds a workflow in the program: `workflow!(pub NAME = "file.yaml")` defines a static of that name.
///
/// The path is relative to the source file, as for `include_str!`. Mistakes that can be found at compile time are
/// compile errors: in the syntax, the references and the graph of the workflow. The inputs and outputs of its tasks
/// are known only after linking. A test that the macro generates next to the static checks them, so `cargo test`
/// fails if a type does not fit. Every run checks them again.
///
/// # Errors
///
/// All mistakes are reported together, with their positions in the workflow file.
#[cfg(feature = "workflow")]
#[proc_macro]
pub fn workflow(input: TokenStream) -> TokenStream {
    workflow::expand(input.into()).into()
}
