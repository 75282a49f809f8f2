//! A large sheet that is submitted in batches: as one program, and over processes, embedded and on RabbitMQ.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the node's share that other tests use")]

#[path = "../../ork-runtime/tests/support/node.rs"]
mod node;
#[path = "../../ork-runtime/tests/support/rabbit.rs"]
mod rabbit;
mod support;

use support::{Ended, Place, Process, exe};

const PROGRAM: &str = exe!("submit_large_sheet");

/// What is set for every process.
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

    fn run(&self, args: &str) -> Ended {
        self.start(args).end()
    }

    /// Writes a sheet of 95 records, of which these are wrong.
    fn sheet(&self, wrong: &[usize]) {
        let record = |n: usize| if wrong.contains(&n) { "nobody\n".to_owned() } else { format!("{n}@example.org\n") };
        self.place.write("records.csv", (0..95).map(record).collect::<String>());
    }

    /// The records that were submitted, in order, and in how many batches.
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

/// The whole story, whatever carries the messages.
fn a_large_sheet_is_submitted(setting: &Setting) {
    setting.sheet(&[33, 34, 94]);
    let workers = [(); 2].map(|()| {
        let mut worker = setting.start("worker");
        worker.err_line(|line| line.contains("worker ready"));
        worker
    });
    let submit = "submit submit_large_sheet sheet=records.csv to=submitted batch=10";
    let job = setting.run(submit).ok().trim().to_owned();
    setting.run(&format!("jobs watch {job}")).fails(1, &["2 of 10 parts were not submitted"]);
    let shown = setting.run(&format!("jobs show {job}")).ok();
    assert!(shown.contains("parts      10: 8 ok, 2 failed, 0 skipped, 0 cancelled, 0 running"), "{shown}");
    for (part, line) in [(3, 34), (9, 95)] {
        assert!(shown.contains(&format!("part {part} failed line {line} has no address")), "{shown}");
    }
    assert!(shown.contains("info       The job is split into 10 parts"), "{shown}");
    assert_eq!(setting.submitted().1, 8, "what is wrong is not submitted, not even in part");

    // One batch is put right, then the other; nothing else is submitted again.
    setting.sheet(&[94]);
    setting.run(&format!("jobs retry {job} --part 3")).ok();
    setting.run(&format!("jobs watch {job}")).fails(1, &["1 of 10 parts were not submitted"]);
    let why = setting.run(&format!("jobs why {job}")).ok();
    assert!(why.contains("runs the 1 part again that are not ok"), "{why}");
    setting.sheet(&[]);
    setting.run(&format!("jobs retry {job}")).ok();
    let submitted = setting.run(&format!("jobs watch {job} --json")).ok();
    assert!(submitted.lines().last().unwrap().contains("This job is now complete."), "{submitted}");
    let (records, batches) = setting.submitted();
    assert_eq!((records.len(), batches), (95, 10));
    assert!(records.iter().enumerate().all(|(n, record)| *record == format!("{n}@example.org")));

    // An empty one is not split.
    setting.place.write("records.csv", "");
    let answer = setting.run(&format!("{submit} --wait --json")).ok();
    assert!(answer.contains("There is nothing to do."), "{answer}");
    for worker in workers {
        worker.signal("TERM");
        assert_eq!(worker.end().code, Some(0));
    }
}

#[test]
fn a_large_sheet_shows_itself() {
    let told = Place::new().run(PROGRAM, "").ok();
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[lines.len() - 3].ends_with("1 of 11 parts were not submitted"), "{told}");
    assert_eq!(
        lines[lines.len() - 2..],
        ["part 7: line 7778 has no address", "This job is now complete. 10500 records"]
    );
}

#[test]
fn a_large_sheet_is_submitted_embedded() {
    a_large_sheet_is_submitted(&Setting { place: Place::new(), variables: Vec::new() });
}

#[test]
fn a_large_sheet_is_submitted_over_rabbitmq() {
    let Some(url) = node::shared_node() else { return };
    let prefix = format!("s{}", &uuid::Uuid::now_v7().simple().to_string()[20..]);
    let variables = vec![("ORK_BROKER", url.to_owned()), ("ORK_PREFIX", prefix)];
    a_large_sheet_is_submitted(&Setting { place: Place::new(), variables });
}
