//! Follows the tutorial from its first line to its last: creates the package, changes its source as described, and runs
//! each command.
//!
//! The words after `sh` and `text` say what a block is:
//!
//! - `sh` is run to its end. A `text` after it is what it prints; it fails if that begins with `error`.
//! - `sh worker` starts the worker in the second terminal, and stops the one before it.
//! - `text worker` is what the worker prints, or a line of it.
//! - `sh kill` kills the worker.
//! - `sh services` sets the variables of all later commands.
//! - `text check` is what `check` prints for the workflow with a mistake.
//!
//! Rust is either the whole program (`rust`, which is also compiled as a documentation test) or a change of it (`rs`).

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::blocks::{Block, blocks};
use super::support::{Ended, Place, Process, exe};
use super::{TUTORIAL, first_id, normal, prefix, root, services};

const MAIN: &str = "fn main() -> std::process::ExitCode {\n    ork::main()\n}\n";

/// The reader of the tutorial, with two terminals.
struct Reader {
    place: Place,
    folder: PathBuf,
    /// The contents of `src/main.rs`.
    source: String,
    is_built: bool,
    variables: Vec<(String, String)>,
    worker: Option<Process>,
    /// The line with which the worker started.
    ready: String,
    /// The id of the job that was printed last.
    id: String,
    /// The differences between what was printed and what the tutorial shows.
    problems: Vec<String>,
}

impl Reader {
    fn new() -> Self {
        let place = Place::new();
        std::os::unix::fs::symlink(root(), place.path().join("ork")).unwrap();
        Self {
            folder: place.path().to_owned(),
            place,
            source: String::new(),
            is_built: false,
            variables: Vec::new(),
            worker: None,
            ready: String::new(),
            id: "ID".into(),
            problems: Vec::new(),
        }
    }

    fn shell(&self, line: &str) -> Command {
        let built = Path::new(exe!("loc")).parent().unwrap();
        let script = format!("exec 2>&1; PATH=$0:$PATH; {line}");
        let mut command = self.place.command("sh", &["-c", &script, built.to_str().unwrap()]);
        command.current_dir(&self.folder).envs(self.variables.iter().cloned());
        command.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", built.parent().unwrap());
        command
    }

    /// Runs a command of cargo itself. Its output does not matter.
    fn cargo(&self, line: &str) {
        let output = self.shell(line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
    }

    fn build(&mut self) {
        if !std::mem::replace(&mut self.is_built, true) {
            std::fs::write(self.folder.join("src/main.rs"), &self.source).unwrap();
            self.cargo("cargo build");
        }
    }

    /// Runs one line in the first terminal.
    fn run(&mut self, line: &str) -> Ended {
        let line = line.replace("ID", &self.id);
        self.build();
        let ended = Process::start(self.shell(&line.replace("cargo run --", "billing"))).end();
        if let Some(id) = first_id(&ended.out) {
            id.clone_into(&mut self.id);
        }
        ended
    }

    fn run_all(&mut self, block: &Block, expected: Option<&Block>) {
        let (mut output, mut code) = (String::new(), Some(0));
        for line in &block.lines {
            if let Some(folder) = line.strip_prefix("cd ") {
                self.folder.push(folder);
            } else if line.starts_with("cargo new ") || line.starts_with("cargo test") {
                if line.starts_with("cargo test") {
                    self.build();
                }
                self.cargo(line);
            } else if line.starts_with("cargo add ") {
                self.cargo(line);
                if line.contains("--path") {
                    // The versions of this build; and all features at once, so that the package is built once.
                    std::fs::copy(root().join("Cargo.lock"), self.folder.join("Cargo.lock")).unwrap();
                    self.cargo("cargo add ork --features postgres,workflow");
                }
            } else {
                let ended = self.run(line);
                output += &ended.out;
                code = ended.code;
            }
        }
        let expected = expected.map(Block::text).unwrap_or_default();
        if expected.is_empty() {
            assert_eq!(code, Some(0), "{block:?}: {output}");
        } else {
            let mut printed = normal(&output);
            // States that last for a moment may be seen by `jobs watch` or not.
            printed.retain(|line| !matches!(&**line, "invoice ready" | "invoice running"));
            if printed != normal(&expected) {
                self.problems.push(format!("{}: {:?} prints\n{output}", block.heading, block.lines));
            }
            let fails = expected.lines().any(|line| line.starts_with("error"));
            assert_eq!(code != Some(0), fails, "{block:?}: {code:?}: {output}");
        }
    }

    /// Stops the worker with Ctrl-C.
    fn stop_worker(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.signal("INT");
            let ended = worker.end();
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
    }

    fn start_worker(&mut self, block: &Block) {
        self.stop_worker();
        self.build();
        let [line] = block.lines[..] else { panic!("{block:?}") };
        let (variables, arguments) = line.split_once("cargo run -- ").unwrap();
        // Without a shell in between, which would receive the signals.
        let mut worker = Process::start(self.shell(&format!("{variables} exec billing {arguments}")));
        self.ready = worker.out_line(|line| line.contains("worker ready"));
        self.worker = Some(worker);
    }

    /// Waits until the worker has printed these lines.
    fn expect_of_worker(&mut self, block: &Block) {
        for expected in normal(&block.text()) {
            if normal(&self.ready) != [expected.clone()] {
                let worker = self.worker.as_mut().unwrap();
                worker.out_line(|line| normal(line) == [expected.clone()]);
            }
        }
    }

    /// Changes the source as a block with a part of the program says.
    fn change(&mut self, block: &Block) {
        let text = block.text();
        let sleep = self.source.lines().find(|line| line.contains("thread::sleep")).map(|line| format!("{line}\n"));
        if text.starts_with("fn main()") {
            assert!(self.source.contains(MAIN), "{}", self.source);
            self.source = self.source.replace(MAIN, &text).replace(&sleep.expect("it sleeps"), "");
        } else if text.starts_with(' ') {
            self.source = self.source.replace("    Ok(invoice)\n", &format!("{text}    Ok(invoice)\n"));
        } else {
            self.source.push('\n');
            self.source.push_str(&text);
        }
        self.is_built = false;
    }
}

#[test]
fn the_tutorial_works_as_written() {
    let mut reader = Reader::new();
    let all = blocks(TUTORIAL);
    for (at, block) in all.iter().enumerate() {
        let next = all.get(at + 1).filter(|next| next.info == "text");
        match block.info {
            "sh" => reader.run_all(block, next),
            "text" => assert_eq!(all[at - 1].info, "sh", "{block:?}"),
            "sh worker" => reader.start_worker(block),
            "text worker" => reader.expect_of_worker(block),
            "sh kill" => {
                // The command would kill the programs of other tests, too.
                assert_eq!(block.lines, ["pkill -9 -x billing"]);
                reader.worker.take().unwrap().kill();
            }
            "sh services" => {
                reader.stop_worker();
                let Some((broker, store)) = services() else { return };
                let variables = [("ORK_BROKER", broker.to_owned()), ("ORK_STORE", store)];
                let names = block.lines.iter().map(|line| line.strip_prefix("export ").unwrap());
                assert!(names.zip(&variables).all(|(line, (name, _))| line.starts_with(name)), "{block:?}");
                reader.variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
                reader.variables.push(("ORK_PREFIX".to_owned(), prefix()));
            }
            "json" => drop(reader.place.write("billing/customers.json", block.text())),
            "yaml" => drop(reader.place.write("billing/month_end.yaml", block.text())),
            "text check" => {
                let workflow = std::fs::read_to_string(reader.folder.join("month_end.yaml")).unwrap();
                reader.place.write("billing/month_end.yaml", workflow.replace("invoice.invoices", "invoice.cents"));
                let ended = reader.run("billing check month_end.yaml");
                assert_eq!((normal(&ended.out), ended.code), (normal(&block.text()), Some(2)));
                reader.place.write("billing/month_end.yaml", workflow);
            }
            "rs" => reader.change(block),
            info if info.starts_with("rust,") => {
                reader.source = block.text();
                reader.is_built = false;
            }
            _ => panic!("this block is not tested: {block:?}"),
        }
    }
    reader.stop_worker();
    assert!(reader.problems.is_empty(), "{}", reader.problems.join("\n"));
    let payments = std::fs::read_dir(reader.folder.join("payments")).unwrap().count();
    assert!(payments > 5, "{payments}");
}
