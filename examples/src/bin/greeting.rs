//! A task that uses a value of the application: a `State<T>`, created once and shared by all tasks of the process.
//!
//! `greeting run greet name=Ada language=de` prints `hallo Ada`. An unknown language is a permanent error: a retry
//! would not change it, so none is made.

#![expect(clippy::needless_pass_by_value, reason = "a task owns its inputs")]

use std::collections::BTreeMap;

use ork::{Error, Result, State, task};

/// The word for "hello" in each language.
#[derive(Debug)]
struct Phrasebook(BTreeMap<&'static str, &'static str>);

/// Greets a person in a language.
#[task(retries = 3)]
fn greet(
    /// The name of the person.
    name: String,
    /// Two letters; English by default.
    language: Option<String>,
    book: State<Phrasebook>,
) -> Result<String> {
    let language = language.as_deref().unwrap_or("en");
    let Some(hello) = book.0.get(language) else {
        let known: Vec<_> = book.0.keys().copied().collect();
        return Err(Error::permanent(format!(
            "there is no greeting in `{language}`: expected one of {}",
            known.join(", ")
        )));
    };
    Ok(format!("{hello} {name}"))
}

fn main() -> std::process::ExitCode {
    let book = Phrasebook(BTreeMap::from([("de", "hallo"), ("en", "hello"), ("fr", "bonjour")]));
    ork::main_with(ork::builder().state(book))
}
