//! The command line arguments of this program, including those of Rust's own test programs that mean something here.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ork_core::mutant::Mutant;

/// The usage text; `docs/simulator.md` explains it.
pub(crate) const USAGE: &str = "\
cargo test --workspace --all-features --test simulator -- [ARGUMENTS]

  (nothing)           all tests
  NAME ..             the tests whose names contain one of these
  --seed N            one seed, with all that happens; if it shows a fault, a smaller scenario that shows it
  --seeds FROM..TO    these seeds
  --for TIME          as many seeds as fit into a time such as 1h
  --scenario FILE     a scenario, or a file of kept/ with its mutant, as --seed
  --mutant NAME       any of these with this fault put back into the code; `none` for a file of kept/ without its own
  --as-is             with --seed or --scenario: a fault is shown as it is, and not made smaller
  --list              the names of the tests
  --exact             NAME is the whole name of a test
  --skip NAME         without the tests whose names contain this
  --include-ignored   the long form of the tests, an hour of seeds; so does --ignored
  --help, -h          this

A FILE is looked for in the current folder, then in the root of the workspace.";

/// The accepted options, as error messages list them.
const ACCEPTED: &str = "--seed, --seeds, --for, --scenario, --mutant, --as-is, --list, --exact, --skip, \
                        --include-ignored, --ignored and --help";

/// Flags of Rust's own test programs that mean nothing here: scripts and `cargo` pass them to all test programs.
const IGNORED: [&str; 8] =
    ["--nocapture", "--no-capture", "--quiet", "-q", "--show-output", "--test", "--report-time", "--shuffle"];

/// Ignored options that take a value.
const IGNORED_WITH_VALUE: [&str; 6] = ["--test-threads", "--format", "--color", "-Z", "--logfile", "--shuffle-seed"];

/// The parsed command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) action: Action,
    pub(crate) put_back: PutBack,
    /// Whether a fault is shown without shrinking its scenario first.
    pub(crate) as_is: bool,
}

/// The mutant that is put back into the code during the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum PutBack {
    /// The option was not given: a kept scenario runs with its own mutant.
    #[default]
    Unset,
    Nothing,
    This(Mutant),
}

impl PutBack {
    /// Returns the mutant, or `usual` if the option was not given.
    pub(crate) fn or(self, usual: Option<Mutant>) -> Option<Mutant> {
        match self {
            Self::Unset => usual,
            Self::Nothing => None,
            Self::This(mutant) => Some(mutant),
        }
    }
}

/// The action that the command line selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Print the usage text.
    Help,
    /// Print the names of these tests.
    List(Filter),
    Tests(Filter),
    /// Run one seed, and print all that happens.
    Seed(u64),
    Seeds(Range<u64>),
    /// Run as many seeds as fit into this time.
    For(Duration),
    /// Run a scenario from a file, and print all that happens.
    Scenario(PathBuf),
}

impl Default for Action {
    fn default() -> Self {
        Self::Tests(Filter::default())
    }
}

/// Selects tests: all of them, or those whose names contain one of the wanted words, less the skipped ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) wanted: Vec<String>,
    skipped: Vec<String>,
    /// Whether the words must match whole names.
    exact: bool,
    pub(crate) long: bool,
}

impl Filter {
    pub(crate) fn has(&self, name: &str) -> bool {
        let fits = |word: &String| if self.exact { name == word } else { name.contains(word) };
        (self.wanted.is_empty() || self.wanted.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

/// Returns the mutant with this name.
pub(crate) fn named(name: &str) -> Option<Mutant> {
    Mutant::ALL.iter().copied().find(|mutant| format!("{mutant:?}") == name)
}

/// The arguments that were read so far.
#[derive(Debug, Default)]
struct Reading {
    /// What is run instead of tests, with the option that selected it.
    run: Option<(String, Action)>,
    put_back: PutBack,
    as_is: bool,
    list: bool,
    help: bool,
    filter: Filter,
}

/// Parses the arguments; an error is one line that says what is wrong.
pub(crate) fn read(mut args: impl Iterator<Item = String>) -> Result<Request, String> {
    let mut reading = Reading::default();
    while let Some(arg) = args.next() {
        if !arg.starts_with('-') {
            reading.filter.wanted.push(arg);
            continue;
        }
        let (name, given) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let mut value = || given.clone().or_else(|| args.next()).ok_or_else(|| format!("`{name}` needs a value"));
        if IGNORED_WITH_VALUE.contains(&name) {
            let _ignored = value()?;
        } else if matches!(name, "--seed" | "--seeds" | "--for" | "--scenario" | "--mutant" | "--skip") {
            reading.option(name, value()?)?;
        } else if !IGNORED.contains(&name) {
            reading.flag(name)?;
            if given.is_some() {
                return Err(format!("`{name}` takes no value"));
            }
        }
    }
    reading.request()
}

impl Reading {
    fn option(&mut self, name: &str, value: String) -> Result<(), String> {
        let number = |text: &str| text.parse::<u64>().map_err(|_not| format!("`{text}` is not the number of a seed"));
        let action = match name {
            "--skip" => {
                self.filter.skipped.push(value);
                return Ok(());
            }
            "--mutant" => {
                let all = || Mutant::ALL.iter().map(|mutant| format!("{mutant:?}")).collect::<Vec<_>>().join(", ");
                let found = match named(&value) {
                    Some(mutant) => PutBack::This(mutant),
                    None if value == "none" => PutBack::Nothing,
                    None => return Err(format!("there is no mutant `{value}`, there are `none`, {}", all())),
                };
                return match std::mem::replace(&mut self.put_back, found) {
                    PutBack::Unset => Ok(()),
                    _ => Err("`--mutant` is there twice: one fault at a time is put back".to_owned()),
                };
            }
            "--seed" => Action::Seed(number(&value)?),
            "--seeds" => {
                let is_none = || format!("`{value}` is not a range such as 0..1000");
                let (from, to) = value.split_once("..").ok_or_else(is_none)?;
                let range = number(from)?..number(to)?;
                if range.is_empty() {
                    return Err(format!("there are no seeds in `{value}`"));
                }
                Action::Seeds(range)
            }
            "--for" => match humantime::parse_duration(&value) {
                Ok(Duration::ZERO) => return Err(format!("`{value}` is too short for a seed")),
                Ok(time) => Action::For(time),
                Err(error) => return Err(format!("`{value}` is not a time such as 1h: {error}")),
            },
            _ => Action::Scenario(value.into()),
        };
        match self.run.replace((name.to_owned(), action)) {
            None => Ok(()),
            Some((other, _)) if other == name => Err(format!("`{name}` is there twice")),
            Some((other, _)) => Err(format!("`{other}` and `{name}` exclude each other")),
        }
    }

    fn flag(&mut self, name: &str) -> Result<(), String> {
        match name {
            "--as-is" => self.as_is = true,
            "--list" => self.list = true,
            "--exact" => self.filter.exact = true,
            "--include-ignored" | "--ignored" => self.filter.long = true,
            "--help" | "-h" => self.help = true,
            _ => return Err(format!("there is no option `{name}`, there are {ACCEPTED}")),
        }
        Ok(())
    }

    fn request(self) -> Result<Request, String> {
        let Self { run, put_back, as_is, list, help, filter } = self;
        let shows = matches!(&run, Some((_, Action::Seed(_) | Action::Scenario(_))));
        let action = match run {
            _ if help => Action::Help,
            _ if as_is && !shows => return Err("`--as-is` goes with `--seed` or `--scenario`".to_owned()),
            Some((option, _)) if !filter.wanted.is_empty() => {
                return Err(format!(
                    "`{option}` and the name of a test, `{}`, exclude each other",
                    filter.wanted.join(" ")
                ));
            }
            Some((_, action)) => action,
            None if list => Action::List(filter),
            None => Action::Tests(filter),
        };
        Ok(Request { action, put_back, as_is })
    }
}

/// Command lines, each with a part of the debug output of its request, or with the beginning of its error message.
#[rustfmt::skip]
const LINES: [(&str, Result<&str, &str>); 32] = [
    ("", Ok("Tests(Filter { wanted: [], skipped: [], exact: false, long: false })")),
    ("mutants seeds --skip=kept", Ok("wanted: [\"mutants\", \"seeds\"], skipped: [\"kept\"]")),
    ("--nocapture --include-ignored --skip processes::worker --skip an_hour_of_sets", Ok("wanted: [], skipped")),
    ("-q --exact seeds --test-threads 1 --format terse --color=always -Z unstable-options", Ok("exact: true")),
    ("--ignored", Ok("long: true")),
    ("--list --format=terse", Ok("List(")),
    ("--help --seeds 0..10", Ok("Help")),
    ("-h", Ok("Help")),
    ("--seed 17", Ok("Seed(17), put_back: Unset, as_is: false")),
    ("--seed=17 --mutant=WakesNoWaiter --as-is", Ok("Seed(17), put_back: This(WakesNoWaiter), as_is: true")),
    ("--seeds 5..6", Ok("Seeds(5..6)")),
    ("--for 1h --mutant WakesNoWaiter", Ok("For(3600s), put_back: This(WakesNoWaiter)")),
    ("--scenario file.json --as-is", Ok("Scenario(\"file.json\")")),
    ("--mutant none --scenario=file.json", Ok("put_back: Nothing")),
    ("--sed 17", Err("there is no option `--sed`, there are --seed")),
    ("-x", Err("there is no option `-x`, there are --seed")),
    ("--seed", Err("`--seed` needs a value")),
    ("--seed x", Err("`x` is not the number of a seed")),
    ("--seed --as-is", Err("`--as-is` is not the number of a seed")),
    ("--seed 1 --seed 2", Err("`--seed` is there twice")),
    ("--seed 1 --for 2s", Err("`--seed` and `--for` exclude each other")),
    ("seeds --seed 1", Err("`--seed` and the name of a test, `seeds`, exclude each other")),
    ("--seeds 3", Err("`3` is not a range such as 0..1000")),
    ("--seeds 5..5", Err("there are no seeds in `5..5`")),
    ("--seeds 9..5", Err("there are no seeds in `9..5`")),
    ("--for ever", Err("`ever` is not a time such as 1h")),
    ("--for 0s", Err("`0s` is too short for a seed")),
    ("--mutant", Err("`--mutant` needs a value")),
    ("--mutant Nothing", Err("there is no mutant `Nothing`, there are `none`, BeginsAfterDrain, ")),
    ("--mutant WakesNoWaiter --mutant=WakesNoWaiter", Err("`--mutant` is there twice")),
    ("--as-is", Err("`--as-is` goes with `--seed` or `--scenario`")),
    ("--as-is=yes --seed 1", Err("`--as-is` takes no value")),
];

/// Returns the lines that are parsed to something else.
pub(crate) fn wrong() -> Vec<String> {
    let problem = |(line, wanted): &(&str, Result<&str, &str>)| {
        let found = read(line.split_whitespace().map(str::to_owned));
        let is_right = match (&found, wanted) {
            (Ok(request), Ok(wanted)) => format!("{request:?}").contains(wanted),
            (Err(detail), Err(wanted)) => detail.starts_with(wanted) && !detail.contains('\n'),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        (!is_right).then(|| format!("`{line}` is parsed to {found:?}"))
    };
    LINES.iter().filter_map(problem).collect()
}
