//! A big job with small child jobs, one of them invalid: in one program, and across processes with RabbitMQ.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "other tests use the rest of it")]

use ork_test_support::node;
mod support;

use serde_json::Value;
use support::{Ended, Place, Process, exe};

const BIG_JOB: &str = exe!("big_job");

/// A place, and environment variables for every process.
struct Setting<'a> {
    place: &'a Place,
    variables: Vec<(&'static str, String)>,
}

impl Setting<'_> {
    fn start(&self, args: &str) -> Process {
        let args: Vec<_> = args.split_whitespace().collect();
        let mut command = self.place.command(BIG_JOB, &args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Process::start(command)
    }

    fn run(&self, args: &str) -> Ended {
        self.start(args).end()
    }

    fn worker(&self) -> Process {
        let mut worker = self.start("worker");
        worker.err_line(|line| line.contains("worker ready"));
        worker
    }

    /// Returns the states in which a job is seen until it has ended, without repetitions.
    fn states(&self, id: &str) -> Vec<String> {
        let watched = self.run(&format!("jobs watch {id} --json"));
        let states = watched.out.lines().filter_map(|line| {
            let status: Value = serde_json::from_str(line).ok()?;
            Some(status["state"].as_str()?.to_owned())
        });
        let mut states: Vec<_> = states.collect();
        states.dedup();
        states
    }
}

/// The whole scenario, with any broker.
fn a_big_job_is_done(setting: &Setting<'_>) {
    let big = setting.run(r#"submit big_job small_jobs=["one","two!","three"] --unique big_job --json"#).json();
    let big = big["id"].as_str().unwrap().to_owned();
    let report = setting.run(&format!("submit report title=big --after {big}")).ok().trim().to_owned();
    // Another big job cannot start until the whole tree of this one has ended, but a caller can join this one.
    let again = "submit big_job small_jobs=[] --unique big_job";
    let taken = format!("the unique key `big_job` is taken by job {big}, which has not ended");
    setting.run(again).fails(2, &[&taken]);
    assert_eq!(setting.run(&format!("{again} --or-existing")).ok().trim(), big);
    let why = setting.run(&format!("jobs why {report}")).ok();
    assert!(why.contains(&format!("is waiting for job {big}, which it follows, to end")), "{why}");
    let last = setting.run(&format!("submit report title=last --after {big} --after {report}")).ok().trim().to_owned();
    let why = setting.run(&format!("jobs why {last}")).ok();
    assert!(why.contains(&format!("is waiting for 2 jobs that it follows to end: {big}, {report}")), "{why}");
    let shown = setting.run(&format!("jobs show {last}")).ok();
    assert!(shown.contains(&format!("follows    {big}, {report}\n")), "{shown}");
    let shown = setting.run(&format!("jobs show {last} --json")).json();
    assert_eq!(shown["follows"], serde_json::json!([big, report]));

    let workers = [setting.worker(), setting.worker()];
    let states = setting.states(&big);
    assert_eq!(states.last().unwrap(), "failed");
    let order = ["ready", "running", "waiting", "failed"];
    let places: Vec<_> = states.iter().map(|state| order.iter().position(|known| known == state).unwrap()).collect();
    assert!(places.is_sorted(), "{states:?}");
    assert_eq!(setting.states(&report).last().unwrap(), "succeeded");
    assert_eq!(setting.states(&last).last().unwrap(), "succeeded");
    let moment = |id: &str, which: &str| setting.run(&format!("jobs show {id} --json")).json()[which].as_i64().unwrap();
    assert!(moment(&last, "started") >= moment(&report, "ended"));

    let tree = setting.run(&format!("jobs tree {big}")).ok();
    let lines: Vec<_> = tree.lines().collect();
    assert_eq!(lines.len(), 4, "{tree}");
    let head = format!(
        "big_job {big} failed (3 of 3 descendants ended): failed jobs below: 1 of the jobs it submitted failed"
    );
    assert_eq!(lines[0], head);
    assert_eq!(lines.iter().filter(|line| line.ends_with(" succeeded")).count(), 2, "{tree}");
    assert_eq!(lines.iter().filter(|line| line.ends_with(r#" failed: invalid data: "two!""#)).count(), 1, "{tree}");
    assert!(lines[1].starts_with("├─ small_job ") && lines[3].starts_with("└─ small_job "), "{tree}");
    let tree = setting.run(&format!("jobs tree {big} --json")).json();
    let jobs = tree.as_array().unwrap();
    for job in &jobs[1..] {
        assert_eq!(
            (&job["depth"], &job["job"]["parent"], &job["job"]["root"]),
            (&1.into(), &big.clone().into(), &big.clone().into())
        );
    }
    let listed = setting.run(&format!("jobs list --root {big} --state succeeded --since 1h --json")).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    // The key is free again.
    setting.run(&format!("{again} --wait")).ok();
    for worker in workers {
        worker.signal("TERM");
        assert_eq!(worker.end().code, Some(0));
    }
}

#[test]
fn a_big_job_runs_as_a_demonstration() {
    let output = Place::new().run(BIG_JOB, "").ok();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0], "a second big job was refused");
    assert!(lines.contains(&"big job failed") && lines.contains(&"big job: reported"), "{output}");
    assert_eq!(lines.iter().filter(|line| **line == "  small_job succeeded").count(), 2, "{output}");
    assert!(lines.contains(&"  small_job failed: invalid data: \"two!\""), "{output}");
}

#[test]
fn a_big_job_and_its_children_end_embedded() {
    let place = Place::new();
    a_big_job_is_done(&Setting { place: &place, variables: Vec::new() });
}

#[test]
fn a_big_job_and_its_children_end_over_rabbitmq() {
    let Some(url) = node::shared_node() else { return };
    let place = Place::new();
    let prefix = format!("b{}", &uuid::Uuid::now_v7().simple().to_string()[20..]);
    let variables = vec![("ORK_BROKER", url.to_owned()), ("ORK_PREFIX", prefix)];
    a_big_job_is_done(&Setting { place: &place, variables });
}
