//! The form of the input for the only parameter of a Python function: the whole input, or the field of its name.

use serde_json::{Value, json};

use crate::{Setting, installed};

const REPORT: &str =
    "from dataclasses import dataclass\n@dataclass\nclass Report:\n    rows: int = 0\n    source: str = ''\n";

/// Checks and runs a workflow over two files, `extract.py` and `load.py`, and returns its result. The only parameter
/// of `load.py` is named `extract`, and all fields of its type have defaults.
fn result(setting: &Setting, tasks: &[(&str, &str)]) -> Value {
    let extract = format!("{REPORT}def main() -> Report:\n    return Report(3, 'sales')\n");
    let statement = "return f\"{extract.rows} rows from '{extract.source}'\"";
    let load = format!("{REPORT}def main(extract: Report) -> str:\n    {statement}\n");
    setting.place.write("workflows/tasks/extract.py", &extract);
    setting.place.write("workflows/tasks/load.py", &load);
    let task = |(name, rest): &(&str, &str)| format!("  {name}: {{{rest}}}\n");
    let tasks: Vec<String> = tasks.iter().map(task).collect();
    setting.place.write("workflows/form.yaml", format!("tasks:\n{}", tasks.concat()));
    let output = setting.run("check workflows/form.yaml").ok();
    assert!(output.ends_with("ok\n"), "{output}");
    setting.run("run workflows/form.yaml --json").json().get("result").cloned().unwrap_or_default()
}

/// Regression test: `load` took the whole input, `{"extract": ..}`, as its `Report`, so that it returned "0 rows from
/// ''" without an error, and `check` reported no error either.
#[test]
fn the_only_python_parameter_gets_the_output_of_the_task_of_its_name() {
    let setting = Setting::embedded();
    if installed::python().is_none() {
        return;
    }
    // The same file is used with and without the dependency. A program always gets an object.
    let tasks = [
        ("extract", "executor: python, file: tasks/extract.py"),
        ("load", "executor: python, file: tasks/load.py, depends_on: [extract]"),
        ("fields", "executor: python, file: tasks/load.py, input: {rows: 4, source: fields}"),
        ("program", "executor: process, command: [cat], depends_on: [extract]"),
    ];
    let expected = json!({
        "load": "3 rows from 'sales'",
        "fields": "4 rows from 'fields'",
        "program": { "extract": { "rows": 3, "source": "sales" } },
    });
    assert_eq!(result(&setting, &tasks), expected);
}

/// Regression test: `check` rejected the constant with "`load` has no input `extract`".
#[test]
fn the_only_python_parameter_gets_the_constant_of_its_name() {
    let setting = Setting::embedded();
    if installed::python().is_none() {
        return;
    }
    let tasks = [("load", "executor: python, file: tasks/load.py, input: {extract: {rows: 5, source: constant}}")];
    assert_eq!(result(&setting, &tasks), json!("5 rows from 'constant'"));
}
