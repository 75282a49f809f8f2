//! The plans of valid workflows: the sources of inputs, the order of tasks, and their serialized form.

use ork_workflow::{Catalog, File, Given, NoCatalog, Parameters, Workflow};
use serde_json::json;

use crate::catalog::TestCatalog;
use crate::support::{comment, differs, files, folder, given};

#[test]
fn valid_workflows_have_the_expected_plans() {
    let (mut wrong, known) = (Vec::new(), TestCatalog::new());
    for (name, text) in files("tests/plans", ".yaml") {
        let workflow = Workflow::read(File::new(&name, &text));
        let catalog: &dyn Catalog = if comment(&text, "no catalog").is_some() { &NoCatalog } else { &known };
        let parameters = given(&text).or_else(|| comment(&text, "only checked").is_none().then(Parameters::new));
        let checked = workflow.check(catalog, parameters.as_ref());
        assert_eq!(checked.diagnostics, [], "{name}");
        let all = json!({ "plan": checked.plan.unwrap(), "schedule": checked.schedule });
        let path = folder("tests/plans").join(&name).with_extension("json");
        wrong.extend(differs(&path, &(serde_json::to_string_pretty(&all).unwrap() + "\n")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn one_parameter(task: &str, name: &str, given: Given) -> Result<serde_json::Value, Vec<String>> {
    let text = format!("input: {{{name}: }}\ntasks:\n  {task}:\n    input: {{item: x}}\n");
    let workflow = Workflow::read(File::new("x.yaml", text));
    let parameters = Parameters::from([(name.to_owned(), given)]);
    let checked = workflow.check(&TestCatalog::new(), Some(&parameters));
    match checked.plan {
        Some(plan) => Ok(serde_json::to_value(&plan).unwrap()["steps"][0]["input"][name]["value"].clone()),
        None => Err(checked.diagnostics.into_iter().map(|it| it.message).collect()),
    }
}

#[test]
fn text_parameter_is_parsed_as_json_if_the_task_accepts_it() {
    let text = |text: &str| Given::Text(text.to_owned());
    assert_eq!(one_parameter("process", "threshold", text("0.5")), Ok(json!(0.5)));
    assert_eq!(one_parameter("process", "threshold", text("null")), Ok(json!(null)));
    assert_eq!(one_parameter("anything", "x", text("[1]")), Ok(json!([1])));
    assert_eq!(one_parameter("anything", "x", text("[1")), Ok(json!("[1")));
    assert_eq!(one_parameter("anything", "x", Given::Value(json!("[1]"))), Ok(json!("[1]")));
    let refused = one_parameter("process", "threshold", text("much")).unwrap_err();
    assert_eq!(refused, ["the value for `threshold` is invalid"]);
}

#[test]
fn report_counts_lines_and_columns_in_characters() {
    let workflow = Workflow::read(File::new("workflows/x.yaml", "tasks:\n  discover: {tïme: 1, timeuot: 5s}\n"));
    let checked = workflow.check(&TestCatalog::new(), None);
    let reports = checked.reports(workflow.file());
    assert_eq!(
        serde_json::to_value(&reports[1]).unwrap(),
        json!({
            "level": "error",
            "code": "unknown-key",
            "message": "a task has no key `timeuot`",
            "file": "workflows/x.yaml",
            "line": 2,
            "column": 23,
            "end_line": 2,
            "end_column": 30,
            "text": "unknown key",
            "labels": [],
            "notes": [],
            "help": ["did you mean `timeout`?"],
            "suggestion": { "line": 2, "column": 23, "end_line": 2, "end_column": 30, "text": "timeout" },
        })
    );
}

#[test]
fn workflow_without_a_name_is_named_after_its_file() {
    let check = |path: &str| Workflow::read(File::new(path, "tasks: {discover: }")).check(&TestCatalog::new(), None);
    assert_eq!(check("workflows/daily.yaml").plan.unwrap().name, "daily");
    let refused = check("workflows/2026 daily.prod.yaml");
    assert_eq!(refused.plan, None);
    assert_eq!(refused.diagnostics[0].message, "the workflow cannot be named `2026 daily.prod` after its file");
    assert_eq!(refused.diagnostics[0].help, ["add a line `name: daily_prod`"]);
}

#[test]
fn files_and_programs_are_known_before_the_check() {
    let path = folder("tests/plans/everything.yaml");
    let workflow = Workflow::read(File::new("everything.yaml", std::fs::read_to_string(path).unwrap()));
    assert_eq!(workflow.name(), "everything");
    assert_eq!(workflow.python_files(), ["tasks/shard.py"]);
    assert_eq!(workflow.process_programs(), ["./clean.sh", "scripts/export.sh"]);
    let path = folder("tests/plans/inputs.yaml");
    let workflow = Workflow::read(File::new("workflows/inputs.yaml", std::fs::read_to_string(path).unwrap()));
    assert_eq!(workflow.parameters()[..2], [("day", None), ("threshold", Some(&json!(0.5)))]);
}
