//! Processes of the example `loc` that share one RabbitMQ and one store, to count one source tree.

#![expect(clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Place, Process, exe};

pub(crate) const LOC: &str = exe!("loc");

/// The number of folders; each has at least five files.
const FOLDERS: usize = 1_000;

/// The resulting number of parts: the root, its ten folders, and the folders below these.
pub(crate) const PARTS: usize = FOLDERS + 11;

/// A language: its name, the file extension, a line of code and a line of comment.
const LANGUAGES: [(&str, &str, &str, &str); 5] = [
    ("Rust", "rs", "fn f() {}", "// a comment"),
    ("Python", "py", "print(1)", "# a comment"),
    ("C", "c", "int i;", "/* a comment */"),
    ("JavaScript", "js", "f();", "// a comment"),
    ("Shell", "sh", "echo", "# a comment"),
];

/// Writes a source tree with files that are `times` times longer than by default, and returns the expected table.
pub(crate) fn tree(place: &Place, times: usize) -> Value {
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

/// Processes that share one RabbitMQ and one store, under a prefix that no other test uses.
pub(crate) struct Meeting<'a> {
    place: &'a Place,
    url: &'a str,
    prefix: String,
    store: String,
}

impl<'a> Meeting<'a> {
    /// Creates a meeting with a new `SQLite` file as its store.
    pub(crate) fn new(place: &'a Place, url: &'a str) -> Self {
        let prefix = format!("t{}", &ork::JobId::new().to_string()[20..]);
        Self { place, url, store: format!("sqlite:{prefix}.db"), prefix }
    }

    /// Replaces the store.
    pub(crate) fn over(self, store: &str) -> Self {
        Self { store: store.to_owned(), ..self }
    }

    pub(crate) fn start(&self, args: &str) -> Process {
        let args: Vec<_> = args.split(' ').collect();
        let mut command = self.place.command(LOC, &args);
        command.env("ORK_BROKER", self.url).env("ORK_PREFIX", &self.prefix).env("ORK_STORE", &self.store);
        Process::start(command)
    }

    pub(crate) fn workers(&self, n: usize) -> Vec<Process> {
        let mut workers: Vec<_> = (0..n).map(|_| self.start("worker")).collect();
        for worker in &mut workers {
            worker.err_line(|line| line.contains("worker ready"));
        }
        workers
    }

    /// Asserts that there is one job, that each of its parts was counted once, and that its join ran in one attempt.
    pub(crate) fn is_whole(&self) {
        let jobs = self.start("jobs list --json").end().json();
        assert_eq!(jobs.as_array().unwrap().len(), 1, "{jobs}");
        let id = jobs[0]["id"].as_str().unwrap();
        let job = self.start(&format!("jobs show {id} --json")).end().json();
        let parts = &job["parts"];
        assert_eq!((&job["total"], &parts["succeeded"]), (&json!(PARTS), &json!(PARTS)), "{job}");
        for none in ["failed", "skipped", "cancelled", "running"] {
            assert_eq!(parts[none], 0, "{job}");
        }
        assert_eq!((&job["state"], &job["unsuccessful_parts"]), (&json!("succeeded"), &json!([])), "{job}");
        assert_eq!(job["attempt"], 2, "the split was the first attempt, the join is the second and last: {job}");
    }
}

/// Returns how many parts of a job have succeeded.
pub(crate) fn settled(status: &Value) -> u64 {
    status["parts"]["succeeded"].as_u64().unwrap()
}
