//! What is run: the arguments of this program, and those of Rust's own test programs as far as they mean something here.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ork::mutant::Mutant;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The tests whose names contain one of these words, or all of them, and none of the others.
    Tests {
        wanted: Vec<String>,
        skipped: Vec<String>,
        long: bool,
    },
    List,
    /// One seed, with all that happens.
    Seed(u64),
    Seeds(Range<u64>),
    /// As many seeds as this time is enough for.
    For(Duration),
    /// A scenario in a file, with all that happens.
    Scenario(PathBuf),
}

/// What is asked for, and the fault that is put back into the code meanwhile.
pub(crate) fn read(args: impl Iterator<Item = String>) -> Result<(Asked, Option<Mutant>), String> {
    let mut args: Vec<_> = args.collect();
    let mut mutant = None;
    if let Some(at) = args.iter().position(|arg| arg == "--mutant") {
        let name = args.drain(at..(at + 2).min(args.len())).nth(1).unwrap_or_default();
        mutant = Some(named(&name).ok_or_else(|| format!("there is no mutant `{name}`, there are {:?}", Mutant::ALL))?);
    }
    Ok((asked(args.into_iter())?, mutant))
}

/// The mutant of this name.
pub(crate) fn named(name: &str) -> Option<Mutant> {
    Mutant::ALL.iter().copied().find(|mutant| format!("{mutant:?}") == name)
}

fn asked(mut args: impl Iterator<Item = String>) -> Result<Asked, String> {
    let (mut wanted, mut skipped, mut long) = (Vec::new(), Vec::new(), false);
    let number = |text: &str| text.parse::<u64>().map_err(|_not| format!("`{text}` is no number of a seed"));
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--seed" => return Ok(Asked::Seed(number(&value()?)?)),
            "--seeds" => {
                let range = value()?;
                let ends = range.split_once("..").ok_or_else(|| format!("`{range}` is no range such as 0..1000"))?;
                return Ok(Asked::Seeds(number(ends.0)?..number(ends.1)?));
            }
            "--for" => {
                let time = value()?;
                return match humantime::parse_duration(&time) {
                    Ok(time) => Ok(Asked::For(time)),
                    Err(error) => Err(format!("`{time}` is no time such as 1h: {error}")),
                };
            }
            "--scenario" => return Ok(Asked::Scenario(value()?.into())),
            "--list" => return Ok(Asked::List),
            "--skip" => skipped.push(value()?),
            "--include-ignored" | "--ignored" => long = true,
            "--test-threads" | "--format" | "--color" | "-Z" => drop(value()?),
            flag if flag.starts_with('-') => {}
            word => wanted.push(word.to_owned()),
        }
    }
    Ok(Asked::Tests { wanted, skipped, long })
}
