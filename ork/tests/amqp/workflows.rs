//! Workflow runs over RabbitMQ with two workers, which both work on the steps of one run.

use ork::workflow::Plan;
use ork::{JobId, JobState, StepState, task};
use serde_json::{Value, json};

use super::tasks::{called, calls};
use super::world::shared;

#[task(queue = "plain")]
async fn wire_list(run: String, n: u64) -> Value {
    called(&format!("{run}.list"));
    json!({ "count": 3, "items": (0..n).collect::<Vec<_>>() })
}

#[task(queue = "plain")]
async fn wire_each(run: String, item: Option<u64>, context: ork::Context) -> Vec<Option<u64>> {
    called(&format!("{run}.each"));
    vec![item, Some(context.parallel_index()), context.parallel_count()]
}

#[task(queue = "plain")]
async fn wire_gather(run: String, each: Vec<Vec<u64>>, by_number: Vec<Vec<Option<u64>>>) -> Value {
    called(&format!("{run}.gather"));
    json!([each.len(), each.iter().map(|each| each[0]).sum::<u64>(), by_number])
}

/// A plan with a list, a fan-out over its items with two calls for each, a fan-out with as many calls as the list
/// requests, and a step that gathers all outputs.
fn plan(run: &str, n: u64) -> Plan {
    let list = json!({ "name": "list", "executor": "rust", "task": "wire_list",
        "input": { "run": { "value": run }, "n": { "value": n } } });
    let each = json!({ "name": "each", "executor": "rust", "task": "wire_each", "needs": [0], "concurrency": 7,
        "input": { "run": { "value": run } },
        "fan_out": { "foreach": { "step": 0, "path": ["items"] }, "parallel": { "fixed": 2 } } });
    let by_number = json!({ "name": "by_number", "executor": "rust", "task": "wire_each", "needs": [0],
        "input": { "run": { "value": run } }, "fan_out": { "parallel": { "of": { "step": 0, "path": ["count"] } } } });
    let gather = json!({ "name": "gather", "executor": "rust", "task": "wire_gather", "needs": [1, 2],
        "input": { "run": { "value": run }, "each": { "output": { "step": 1 } }, "by_number": { "output": { "step": 2 } } } });
    serde_json::from_value(json!({ "name": "wire", "steps": [list, each, by_number, gather] })).unwrap()
}

#[test]
fn both_workers_run_steps_and_each_step_starts_once() {
    shared(|world| async move {
        let run = JobId::new().to_string();
        let (one, two) = (world.worker().await, world.worker().await);
        let handle = one.workflows().submit(&plan(&run, 100)).await.unwrap();
        let outcome = handle.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        let steps = &outcome.status().run.as_ref().unwrap().steps;
        assert!(steps.iter().all(|step| step.state == StepState::Succeeded));
        let by_number = json!([[null, 0, 3], [null, 1, 3], [null, 2, 3]]);
        let expected = json!([200, 2 * 4950, by_number]);
        assert_eq!(two.workflows().step_output(handle.id(), "gather").await.unwrap(), Some(expected));
        assert_eq!([".list", ".each", ".gather"].map(|task| calls(&format!("{run}{task}"))), [1, 203, 1]);
        let each = two.workflows().step_output(handle.id(), "each").await.unwrap().unwrap();
        assert_eq!((each[13].clone(), each[198].clone()), (json!([6, 1, 2]), json!([99, 0, 2])));
        one.shutdown().await;
        two.shutdown().await;
    });
}

/// A client that can publish may run the tasks of the program, but nothing that runs other programs.
#[test]
fn published_plan_cannot_start_programs_or_schedules() {
    shared(|world| async move {
        let worker = world.worker().await;
        let mut foreigner = world.foreigner().await;
        let marked = tempfile::tempdir().unwrap().path().join("was here");
        let touch = json!({ "name": "touch", "executor": "process", "command": ["touch", marked] });
        let plan = json!({ "name": "evil", "steps": [touch] });
        let schedule =
            json!({ "name": "evil", "cron": "* * * * *", "timezone": "UTC", "task": "ork.run", "input": plan });
        for (task, body, expected) in [
            ("ork.run", plan, "the step `touch` is not a task of this program"),
            ("ork.schedule", schedule, "schedules cannot be created over a broker"),
            ("ork.process", json!({ "command": ["touch", marked] }), "can only run as a step of a workflow"),
        ] {
            foreigner.publish(task, &serde_json::to_vec(&body).unwrap(), foreigner.requesting(task)).await;
            let (_, reply) = foreigner.reply().await;
            let message = reply["error"]["message"].as_str().unwrap();
            assert!(reply["state"] == "failed" && message.contains(expected), "{reply}");
        }
        assert!(!marked.exists() && worker.schedules().list().await.unwrap().is_empty());
        worker.shutdown().await;
    });
}

/// A client that can publish can submit a run, but a step without a run is rejected.
#[test]
fn foreign_client_submits_a_run_but_cannot_invent_a_step() {
    shared(|world| async move {
        let run = JobId::new().to_string();
        let worker = world.worker().await;
        let mut foreigner = world.foreigner().await;
        let body = serde_json::to_vec(&plan(&run, 2)).unwrap();
        foreigner.publish("ork.run", &body, foreigner.requesting("one")).await;
        let (_, reply) = foreigner.reply().await;
        assert_eq!(reply["state"], "succeeded", "{reply}");
        assert_eq!(calls(&format!("{run}.gather")), 1);
        let mut headers = lapin::types::FieldTable::default();
        headers.insert("ork-kind".into(), lapin::types::AMQPValue::LongString("step".into()));
        foreigner.publish("wire_list", b"null", foreigner.requesting("two").with_headers(headers)).await;
        let dead = foreigner.dead().await;
        let why = super::world::header(&dead, "x-ork-detail");
        assert!(why.contains("there is no job"), "{why}");
        worker.shutdown().await;
    });
}
