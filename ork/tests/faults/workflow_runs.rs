//! A workflow run with faults: a list, an instance for each item, a step that gathers the outputs, and a step beside
//! them.

use ork::workflow::{FanOut, Plan, Reference, Runs, Source, Step};
use ork::{JobId, JobState, StepState, task};
use ork_ports::store::Store;
use serde_json::{Value, json};

use super::tasks::{called, calls};

#[task]
async fn run_list(run: String, n: u64) -> Vec<u64> {
    called(format!("{run}.list"));
    (0..n).collect()
}

#[task]
async fn run_each(run: String, item: u64) -> u64 {
    called(format!("{run}.each.{item}"));
    item * 10
}

#[task]
async fn run_gather(run: String, each: Vec<u64>) -> u64 {
    called(format!("{run}.gather"));
    each.iter().sum()
}

/// The workflow.
pub(crate) fn plan(run: &str, n: u64) -> Plan {
    let step = |name: &str, needs: &[usize], input: &[(&str, Source)]| Step {
        needs: needs.to_vec(),
        input: input
            .iter()
            .cloned()
            .chain([("run", Source::Value(json!(run)))])
            .map(|(name, source)| (name.to_owned(), source))
            .collect(),
        ..Step::new(name, Runs::Rust { task: format!("run_{name}") })
    };
    let whole = |step| Reference { step, path: Vec::new() };
    let list = step("list", &[], &[("n", Source::Value(json!(n)))]);
    let fan_out = Some(FanOut { foreach: Some(whole(0)), parallel: None });
    let each = Step { fan_out, ..step("each", &[0], &[]) };
    let gather = step("gather", &[1], &[("each", Source::Output(whole(1)))]);
    let beside = Step { name: "beside".into(), ..step("list", &[], &[("n", Source::Value(json!(1)))]) };
    Plan { name: "faulty".into(), folder: None, steps: vec![list, each, gather, beside] }
}

/// Asserts that each step has succeeded once, whatever died in between.
pub(crate) async fn audit(store: &dyn Store, id: JobId, (run, n): (&str, u64), lives: u32) {
    let view = store.job(id).await.unwrap().unwrap();
    let flow = view.job.workflow_run().unwrap();
    assert!(flow.steps.iter().all(|step| step.state == StepState::Succeeded), "{flow:?}");
    let tree = view.job.tree;
    assert_eq!((tree.descendants, tree.descendants_ended, tree.open_children, tree.failed_children), (4, 4, 0, 0));
    for step in &flow.steps {
        let job = store.job(step.job(id)).await.unwrap().unwrap();
        assert_eq!(job.job.state, JobState::Succeeded);
        if step.name == "each" {
            assert_eq!((job.counts.succeeded, job.counts.settled(), job.counts.running), (n, n, 0));
        }
        if step.name == "gather" {
            let output: Value = serde_json::from_slice(&job.output.unwrap()).unwrap();
            assert_eq!(output, json!(5 * n * (n - 1)));
        }
    }
    let ran = |what: String, least: u32, most: u32| {
        let calls = calls(&format!("{run}.{what}"));
        assert!((least..=most).contains(&calls), "{what} ran {calls} times in {lives} lives");
    };
    // `beside` is the same function.
    ran("list".to_owned(), 2, 2 * lives);
    ran("gather".to_owned(), 1, lives);
    // A split that was interrupted by the death of its process is run again, and its parts are new ones. Those of the
    // earlier run may be delivered first, so each life may run an item once for its own list and once for each list
    // before.
    let most = (1..=lives).sum();
    for item in 0..n {
        ran(format!("each.{item}"), 1, most);
    }
}
