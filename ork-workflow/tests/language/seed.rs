//! The workflows of the document that first described the language, verbatim, with their expected plans and drawings.

use ork_workflow::{Drawing, File, Parameters, Workflow, draw};

use crate::catalog::TestCatalog;
use crate::support::{differs, files, folder};

#[test]
fn seed_workflows_have_the_expected_plans() {
    let mut wrong = Vec::new();
    for (name, text) in files("tests/seed", ".yaml") {
        let stem = folder("tests/seed").join(name.trim_end_matches(".yaml"));
        // One of them shows a single task, without the task that it depends on.
        let discover = "tasks:\n  discover:\n    executor: python\n    file: tasks/discover.py\n";
        let text = if name == "concurrency.yaml" { text.replacen("tasks:\n", discover, 1) } else { text };
        let catalog = TestCatalog::read(&std::fs::read_to_string(stem.with_extension("catalog.json")).unwrap());
        let workflow = Workflow::read(File::new(&name, text));
        let checked = workflow.check(&catalog, Some(&Parameters::new()));
        assert_eq!(checked.diagnostics, [], "{name}");
        let plan = checked.plan.unwrap();
        let json = serde_json::to_string_pretty(&plan).unwrap() + "\n";
        wrong.extend(differs(&stem.with_extension("plan.json"), &json));
        assert_eq!(serde_json::from_str::<ork_workflow::Plan>(&json).unwrap(), plan);
        for (drawing, end) in [(Drawing::Text, "txt"), (Drawing::Mermaid, "mmd"), (Drawing::Dot, "dot")] {
            wrong.extend(differs(&stem.with_extension(end), &draw(&plan, drawing)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
