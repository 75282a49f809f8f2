//! The input form of a function of this program that takes its whole input as one value, called `input`.

use ork::workflow::{Form, Parameters};
use ork::{JobState, StepState, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::world::each;

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Rows {
    count: u32,
    source: String,
}

#[task]
fn flow_rows() -> Rows {
    Rows { count: 3, source: "sales".into() }
}

#[task]
fn flow_show(input: Rows) -> String {
    format!("{} rows from '{}'", input.count, input.source)
}

#[task]
fn flow_numbers() -> Vec<u32> {
    vec![1, 2, 3]
}

#[task]
fn flow_add(input: Vec<u32>) -> u32 {
    input.iter().sum()
}

const ROWS: &str = "
tasks:
  input: {task: flow_rows}
  show: {task: flow_show, depends_on: [input]}
  many: {task: flow_show, depends_on: [input], parallel: 2}
  fields: {task: flow_show, input: {count: 4, source: fields}}
  constant: {task: flow_show, input: {input: {count: 5, source: constant}}}
";

const NUMBERS: &str = "
tasks:
  input: {task: flow_numbers}
  add: {task: flow_add, depends_on: [input]}
";

/// Regression: the constant used to be refused, and without it `show` returned "0 rows from ''", because it took the
/// object around the output of `input`. A list was refused: "`add` takes list of integer, and a workflow gives an
/// object".
#[test]
fn output_of_a_step_called_input_is_given_to_the_parameter_called_input() {
    each(|world| async move {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flow.yaml");
        for (text, expected) in [
            (
                ROWS,
                json!({
                    "show": "3 rows from 'sales'",
                    "many": ["3 rows from 'sales'", "3 rows from 'sales'"],
                    "fields": "4 rows from 'fields'",
                    "constant": "5 rows from 'constant'",
                }),
            ),
            (NUMBERS, json!({ "add": 6 })),
        ] {
            std::fs::write(&path, text).unwrap();
            let plan = world.ork.plan(&path, &Parameters::new()).await.unwrap();
            let run = world.ork.workflows().submit(&plan).await.unwrap();
            let outcome = run.wait().await.unwrap();
            assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
            for (task, output) in expected.as_object().unwrap() {
                assert_eq!(
                    world.ork.workflows().step_output(run.id(), task).await.unwrap().as_ref(),
                    Some(output),
                    "{task}"
                );
            }
        }
        world.end().await;
    });
}

/// A plan may leave out the form; the parameter then takes the whole input.
#[test]
fn plan_without_a_form_gives_the_whole_input() {
    each(|world| async move {
        let plan = json!({ "name": "old", "steps": [
            { "name": "input", "executor": "rust", "task": "flow_rows" },
            { "name": "show", "executor": "rust", "task": "flow_show", "needs": [0], "input": {
                "input": { "output": { "step": 0 } }, "count": { "value": 7 }
            } },
        ] });
        let plan: ork::workflow::Plan = serde_json::from_value(plan).unwrap();
        assert_eq!(plan.steps[1].form, Form::Whole);
        let run = world.ork.workflows().submit(&plan).await.unwrap();
        let outcome = run.wait().await.unwrap();
        assert_eq!(outcome.status().run.as_ref().unwrap().steps[1].state, StepState::Succeeded, "{outcome:?}");
        assert_eq!(world.ork.workflows().step_output(run.id(), "show").await.unwrap(), Some(json!("7 rows from ''")));
        world.end().await;
    });
}
