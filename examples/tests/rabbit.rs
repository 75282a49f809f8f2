//! The main job on real input over RabbitMQ: the same table by one process and by several, and by several of which one
//! is killed half-way.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the node's share that other tests use")]

#[path = "../../ork-runtime/tests/support/node.rs"]
mod node;
#[path = "../../ork-runtime/tests/support/rabbit.rs"]
mod rabbit;
mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Place, Process, exe};

const LOC: &str = exe!("loc");

/// Folders, each with at least five files.
const FOLDERS: usize = 1_000;

/// A language: the end of its files' names, and one line each of code, of comment, of neither.
const LANGUAGES: [(&str, &str, &str, &str); 5] = [
    ("Rust", "rs", "fn f() {}", "// a comment"),
    ("Python", "py", "print(1)", "# a comment"),
    ("C", "c", "int i;", "/* a comment */"),
    ("JavaScript", "js", "f();", "// a comment"),
    ("Shell", "sh", "echo", "# a comment"),
];

/// Makes a source tree, of files so many `times` as long as need be, and answers the table that must come of it.
fn tree(place: &Place, times: usize) -> Value {
    let mut counted: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for folder in 0..FOLDERS {
        for file in 0..5 + folder % 3 {
            let (language, end, code, comment) = LANGUAGES[(folder + file) % LANGUAGES.len()];
            let [n_code, n_comments, n_blanks] = [1 + folder * 7 % 23, file * 3 % 5, folder % 4].map(|n| n * times);
            let text = [code, comment, ""].into_iter().zip([n_code, n_comments, n_blanks]);
            let text: String = text.map(|(line, n)| format!("{line}\n").repeat(n)).collect();
            place.write(&format!("tree/{}/d{folder}/f{file}.{end}", folder % 10), text);
            let sums = counted.entry(language).or_default();
            for (sum, more) in sums.iter_mut().zip([1, n_code, n_comments, n_blanks]) {
                *sum += more;
            }
        }
    }
    let total = counted.values().fold([0; 4], |sum, one| [0, 1, 2, 3].map(|n| sum[n] + one[n]));
    let mut rows: Vec<_> = counted.into_iter().collect();
    rows.sort_by(|(a, left), (b, right)| right[1].cmp(&left[1]).then(a.cmp(b)));
    rows.push(("total", total));
    let row = |(language, [files, code, comments, blanks]): (&str, [usize; 4])| {
        let lines = code + comments + blanks;
        json!({"language": language, "files": files, "lines": lines, "code": code, "comments": comments, "blanks": blanks})
    };
    rows.into_iter().map(row).collect()
}

/// Processes that meet on one RabbitMQ and in one store, with names of their own there.
struct Meeting<'a> {
    place: &'a Place,
    url: &'a str,
    prefix: String,
    store: String,
}

impl<'a> Meeting<'a> {
    fn new(place: &'a Place, url: &'a str) -> Self {
        let prefix = format!("t{}", &ork::JobId::new().to_string()[20..]);
        Self { place, url, store: format!("sqlite:{prefix}.db"), prefix }
    }

    fn start(&self, args: &str) -> Process {
        let args: Vec<_> = args.split(' ').collect();
        let mut command = self.place.command(LOC, &args);
        command.env("ORK_BROKER", self.url).env("ORK_PREFIX", &self.prefix).env("ORK_STORE", &self.store);
        Process::start(command)
    }

    fn workers(&self, n: usize) -> Vec<Process> {
        let mut workers: Vec<_> = (0..n).map(|_| self.start("worker")).collect();
        for worker in &mut workers {
            worker.err_line(|line| line.contains("worker ready"));
        }
        workers
    }

    /// The only job there is: every part of it counted once, and its join run as one attempt.
    fn is_whole(&self) {
        let jobs = self.start("jobs list --json").end().json();
        assert_eq!(jobs.as_array().unwrap().len(), 1, "{jobs}");
        let id = jobs[0]["id"].as_str().unwrap();
        let job = self.start(&format!("jobs show {id} --json")).end().json();
        let parts = &job["parts"];
        // The root, its ten folders, and those in them.
        assert_eq!((&job["total"], &parts["ok"]), (&json!(FOLDERS + 11), &json!(FOLDERS + 11)), "{job}");
        for none in ["failed", "skipped", "cancelled", "running"] {
            assert_eq!(parts[none], 0, "{job}");
        }
        assert_eq!((&job["state"], &job["not_ok"]), (&json!("success"), &json!([])), "{job}");
        assert_eq!(job["attempt"], 2, "the split was the first attempt, the join is the second and last: {job}");
    }
}

fn settled(status: &Value) -> u64 {
    status["parts"]["ok"].as_u64().unwrap()
}

#[test]
fn the_table_is_the_same_wherever_it_is_made() {
    let Some(url) = node::shared_node() else { return };
    let place = Place::new();
    let expected = tree(&place, 1);
    assert!(expected.as_array().unwrap().last().unwrap()["files"].as_u64().unwrap() >= 5_000);
    assert_eq!(place.run(LOC, "run loc root=tree --json").json(), expected);

    for n_workers in [1, 3] {
        let meeting = Meeting::new(&place, url);
        let workers = meeting.workers(n_workers);
        let table = meeting.start("submit loc root=tree --wait --json").end().json();
        assert_eq!(table, expected, "by {n_workers}");
        meeting.is_whole();
        for worker in workers {
            worker.signal("TERM");
            assert_eq!(worker.end().code, Some(0));
        }
    }
}

#[test]
fn a_worker_that_is_killed_half_way_changes_nothing() {
    let Some(url) = node::shared_node() else { return };
    let place = Place::new();
    // Enough to do that a worker can be killed in the middle of it.
    let expected = tree(&place, 30);
    for victim in 0..3 {
        let meeting = Meeting::new(&place, url);
        let mut workers = meeting.workers(3);
        let id = meeting.start("submit loc root=tree --json").end().json()["id"].as_str().unwrap().to_owned();
        let mut watch = meeting.start(&format!("jobs watch {id} --json"));
        let seen = watch.out_json(|status| status["parts"].is_object() && settled(status) >= 200);
        workers.remove(victim).kill();
        assert!(settled(&seen) < 1_011, "killed too late to show anything: {seen}");
        let watched = watch.end();
        assert_eq!(watched.code, Some(0), "{watched:?}");
        let table: Value = serde_json::from_str(watched.out.lines().last().unwrap()).unwrap();
        assert_eq!(table, expected, "without {victim}");
        meeting.is_whole();
    }
}
