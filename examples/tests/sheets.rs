//! A large sheet that is submitted in batches: in one program, and across processes, embedded and with RabbitMQ.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "other tests use the rest of it")]

use ork_test_support::node;
mod support;

use support::{Ended, Place, Process, exe};

const PROGRAM: &str = exe!("submit_large_sheet");

/// A place, and environment variables for every process.
struct Setting {
    place: Place,
    variables: Vec<(&'static str, String)>,
}

impl Setting {
    fn start(&self, args: &str) -> Process {
        let args: Vec<_> = args.split_whitespace().collect();
        let mut command = self.place.command(PROGRAM, &args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Process::start(command)
    }

    /// Returns whether processes publish events to each other.
    fn listens(&self) -> bool {
        self.variables.iter().any(|(name, _)| *name == "ORK_EVENTS")
    }

    fn run(&self, args: &str) -> Ended {
        self.start(args).end()
    }

    /// Writes a sheet of 95 records, of which the given ones are invalid.
    fn sheet(&self, wrong: &[usize]) {
        let record = |n: usize| if wrong.contains(&n) { "nobody\n".to_owned() } else { format!("{n}@example.org\n") };
        self.place.write("records.csv", (0..95).map(record).collect::<String>());
    }

    /// Returns the submitted records in order, and the number of batches.
    fn submitted(&self) -> (Vec<String>, usize) {
        let folder = std::fs::read_dir(self.place.path().join("submitted")).unwrap();
        let mut batches: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
        batches.sort();
        let records = batches.iter().flat_map(|batch| {
            let text = std::fs::read_to_string(batch).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        (records.collect(), batches.len())
    }
}

/// The whole scenario, with any broker.
fn a_large_sheet_is_submitted(setting: &Setting) {
    setting.sheet(&[33, 34, 94]);
    let workers = [(); 2].map(|()| {
        let mut worker = setting.start("worker");
        worker.err_line(|line| line.contains("worker ready"));
        worker
    });
    // With a broker, another process can listen to the events.
    let mut listener = setting.listens().then(|| setting.start("jobs watch --events"));
    if let Some(listener) = &mut listener {
        listener.err_line(|line| line.contains("watching"));
    }
    let submit = "submit submit_large_sheet sheet=records.csv to=submitted batch=10";
    let job = setting.run(submit).ok().trim().to_owned();
    setting.run(&format!("jobs watch {job}")).fails(1, &["2 of 10 parts were not submitted"]);
    let shown = setting.run(&format!("jobs show {job}")).ok();
    assert!(shown.contains("parts      10: 8 succeeded, 2 failed, 0 skipped, 0 cancelled, 0 running"), "{shown}");
    for (part, line) in [(3, 34), (9, 95)] {
        assert!(shown.contains(&format!("part {part} failed line {line} has no address")), "{shown}");
    }
    assert!(shown.contains("info       The job is split into 10 parts"), "{shown}");
    assert_eq!(setting.submitted().1, 8, "an invalid batch is not submitted, not even in part");

    // One batch is corrected, then the other. No other batch is submitted again.
    setting.sheet(&[94]);
    setting.run(&format!("jobs retry {job} --part 3")).ok();
    setting.run(&format!("jobs watch {job}")).fails(1, &["1 of 10 parts were not submitted"]);
    let why = setting.run(&format!("jobs why {job}")).ok();
    assert!(why.contains("retries the 1 part that did not succeed"), "{why}");
    setting.sheet(&[]);
    setting.run(&format!("jobs retry {job}")).ok();
    let submitted = setting.run(&format!("jobs watch {job} --json")).ok();
    assert!(submitted.lines().last().unwrap().contains("This job is now complete."), "{submitted}");
    let (records, batches) = setting.submitted();
    assert_eq!((records.len(), batches), (95, 10));
    assert!(records.iter().enumerate().all(|(n, record)| *record == format!("{n}@example.org")));

    let output = setting.run(&format!("jobs watch {job}")).ok();
    assert_eq!(output.lines().next(), Some("This job is now complete."), "{output}");
    assert!(output.ends_with("next: See what was submitted: https://example.org/submissions\n95\n"), "{output}");
    if let Some(mut listener) = listener {
        let parts = |completed, failed| format!(" 10 parts: {completed} completed, {failed} failed, 0 canceled");
        let events = [
            ("job.created", String::new()),
            ("job.ready", String::new()),
            ("job.updated", " 20 % The job is split into 10 parts".to_owned()),
            ("job.parts-completed", parts(8, 2)),
            ("job.failed", " 2 of 10 parts were not submitted".to_owned()),
            ("job.parts-completed", parts(9, 1)),
            ("job.failed", " 1 of 10 parts were not submitted".to_owned()),
            ("job.parts-completed", parts(10, 0)),
            ("job.completed", String::new()),
        ];
        for (kind, suffix) in events {
            // Progress that was reported just before may have been published too.
            let line = listener.out_line(|line| line.contains(&job) && !line.contains(" 10 % "));
            assert!(
                line.contains(&format!(" {kind} ")) && line.ends_with(&format!(" submit_large_sheet{suffix}")),
                "{line}"
            );
        }
        listener.signal("TERM");
        assert_eq!(listener.end().code, Some(130));
    }

    // An empty sheet is not split.
    setting.place.write("records.csv", "");
    let printed = setting.run(&format!("{submit} --wait --json")).ok();
    assert!(printed.contains("There is nothing to do."), "{printed}");
    for worker in workers {
        worker.signal("TERM");
        assert_eq!(worker.end().code, Some(0));
    }
}

#[test]
fn a_large_sheet_runs_as_a_demonstration() {
    let output = Place::new().run(PROGRAM, "").ok();
    let lines: Vec<_> = output.lines().collect();
    // Only the newest progress report is guaranteed to be seen.
    let lines = if lines[0] == "Splitting the job" { &lines[1..] } else { &lines };
    let [splits, completed, failed, part, records, next] = lines[..] else { panic!("{output}") };
    assert_eq!(splits, "The job is split into 11 parts");
    assert_eq!(completed, "job.parts-completed: 10 of 11 completed, 1 failed");
    assert!(failed.ends_with("1 of 11 parts were not submitted"), "{output}");
    assert_eq!(part, "part 7: line 7778 has no address");
    assert_eq!(records, "10500 records. This job is now complete.");
    assert_eq!(next, "next: See what was submitted: https://example.org/submissions");
}

#[test]
fn a_large_sheet_is_submitted_embedded() {
    a_large_sheet_is_submitted(&Setting { place: Place::new(), variables: Vec::new() });
}

#[test]
fn a_large_sheet_is_submitted_over_rabbitmq() {
    let Some(url) = node::shared_node() else { return };
    let prefix = format!("s{}", &uuid::Uuid::now_v7().simple().to_string()[20..]);
    let events = ("ORK_EVENTS", "jobs".to_owned());
    let variables = vec![("ORK_BROKER", url.to_owned()), ("ORK_PREFIX", prefix), events];
    a_large_sheet_is_submitted(&Setting { place: Place::new(), variables });
}
