//! The output of commands: results on stdout, for people or as JSON, and everything else on stderr.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::OnceLock;

use comfy_table::{ContentArrangement, Table, TableStyle};
use serde::Serialize;
use serde_json::Value;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Failure;
use ork_runtime::task::Conclusion;

/// Writes the output of a command in the chosen format.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    color: bool,
    /// The first error of stdout. After it nothing more is written there.
    write_error: OnceLock<io::Error>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, color: io::stderr().is_terminal(), write_error: OnceLock::new() }
    }

    /// Whether the output is JSON, for programs.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches: stderr is a terminal, and the output is not JSON.
    pub(super) fn is_interactive(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Whether the output on stderr may have colors.
    #[cfg(feature = "workflow")]
    pub(super) const fn is_coloured(&self) -> bool {
        self.color
    }

    /// Starts logging to stderr.
    pub(super) fn log(&self, filter: &str) -> Result<(), Failure> {
        // The AMQP client logs errors that ork handles. A directive of the user for it comes later, and counts.
        let filter: Targets = format!("lapin=off,{filter}")
            .parse()
            .map_err(|error| Failure::user(format!("invalid value `{filter}` for `log`: {error}")))?;
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        let lines = if self.json { lines.json().boxed() } else { lines.with_ansi(self.color).boxed() };
        // `try_init` fails if the program has set up its own subscriber, which is then kept.
        drop(tracing_subscriber::registry().with(lines.with_filter(filter)).try_init());
        Ok(())
    }

    /// Writes one line to stdout.
    pub(super) fn line(&self, line: impl std::fmt::Display) {
        self.raw(format!("{line}\n").as_bytes());
    }

    /// Writes bytes to stdout. All output of commands goes through here. After an error nothing more is written, and
    /// [`Output::finish`] reports it.
    pub(super) fn raw(&self, bytes: &[u8]) {
        if self.write_error.get().is_some() {
            return;
        }
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // No error was stored before, because writing stops after the first one.
            drop(self.write_error.set(error));
        }
    }

    /// Returns an error if something could not be written to stdout. A reader that has closed its end, as `head`
    /// does, is no error.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        match self.write_error.get() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::output_unwritable(error)),
            Some(_) | None => Ok(()),
        }
    }

    /// Writes a result: as JSON for programs, as a line for people.
    pub(super) fn print_result(&self, json: impl Serialize, line: impl std::fmt::Display) {
        if self.json {
            self.json(&json);
        } else {
            self.line(line);
        }
    }

    /// Writes a list: as JSON for programs, as a table for people. If the list is empty, people get the text `none`.
    pub(super) fn list<T: Serialize>(&self, all: &[T], none: &str, head: &[&str], row: impl FnMut(&T) -> Vec<String>) {
        if self.json {
            self.json(&all);
        } else if all.is_empty() {
            self.note(none);
        } else {
            self.table(head, all.iter().map(row));
        }
    }

    /// Writes a value as JSON in one line.
    pub(super) fn json(&self, value: &impl Serialize) {
        self.line(serde_json::to_string(value).unwrap_or_default());
    }

    /// Writes a note for people to stderr.
    pub(super) fn note(&self, note: impl std::fmt::Display) {
        if !self.json {
            drop(writeln!(io::stderr(), "{note}"));
        }
    }

    /// Writes the error of a command and its hints to stderr, and returns the exit code.
    pub(super) fn report(&self, failure: &Failure) -> ExitCode {
        self.error(failure.message(), failure.hints());
        ExitCode::from(failure.code())
    }

    fn error(&self, message: &str, hints: &[String]) {
        if self.json {
            let error = serde_json::json!({ "error": message, "hints": hints });
            drop(writeln!(io::stderr(), "{error}"));
            return;
        }
        let (red, bold, plain) = if self.color { ("\x1b[31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        drop(writeln!(io::stderr(), "{bold}{red}error{plain}: {message}"));
        for hint in hints {
            drop(writeln!(io::stderr(), "{bold}hint{plain}: {hint}"));
        }
    }

    /// Writes a table.
    pub(super) fn table(&self, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let mut table = new_table();
        table.set_header(head.iter().copied());
        table.add_rows(rows);
        self.line(trimmed(&table));
    }

    /// Writes the result of a job: as a table or text where it has that form, otherwise as JSON.
    pub(super) fn result(&self, json: &[u8]) {
        if let (false, Ok(Conclusion { outcome, data })) =
            (self.json, serde_json::from_slice::<Conclusion<Value>>(json))
        {
            self.line(outcome);
            if !data.is_null() {
                self.line(pretty(&data));
            }
            return;
        }
        match serde_json::from_slice(json) {
            Ok(value) if !self.json => self.line(pretty(&value)),
            Ok(_) | Err(_) => self.raw(&[json, b"\n"].concat()),
        }
    }
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn trimmed(table: &Table) -> String {
    let text = table.to_string();
    let lines: Vec<_> = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n")
}

/// Formats a value for people.
fn pretty(value: &Value) -> String {
    match value {
        Value::Null => "done".into(),
        Value::String(text) => text.clone(),
        Value::Array(rows) => rows_table(rows).unwrap_or_else(|| indented(value)),
        Value::Object(fields) => {
            let tables = fields.values().any(|value| value.as_array().is_some_and(|rows| rows_table(rows).is_some()));
            if !tables {
                return indented(value);
            }
            let sections =
                fields.iter().map(|(name, value)| match value.as_array().and_then(|rows| rows_table(rows)) {
                    Some(table) => table,
                    None if value.is_object() || value.is_array() => format!("{name}: {value}"),
                    None => format!("{name}: {}", cell(value)),
                });
            sections.collect::<Vec<_>>().join("\n\n")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn indented(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Formats rows as a table; `None` if they are not flat objects with the same fields.
fn rows_table(rows: &[Value]) -> Option<String> {
    let names: Vec<_> = rows.first()?.as_object()?.keys().collect();
    let mut table = new_table();
    table.set_header(&names);
    for row in rows {
        let row = row.as_object()?;
        if !row.keys().eq(names.iter().copied()) || row.values().any(|value| value.is_object() || value.is_array()) {
            return None;
        }
        table.add_row(row.values().map(cell));
    }
    for (index, name) in names.iter().enumerate() {
        let numbers = rows.iter().all(|row| row.get(name).is_some_and(Value::is_number));
        if let (true, Some(column)) = (numbers, table.column_mut(index)) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    Some(trimmed(&table))
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
