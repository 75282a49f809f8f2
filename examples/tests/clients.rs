//! Clients in Python, TypeScript and Java that call Rust tasks over RabbitMQ. Their types are generated from the
//! exported schemas by common tools; the clients are checked by mypy, tsc and javac, and then run. The commands are
//! those of `docs/other-languages.md`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "other tests use the rest of it")]

use ork_test_support::{installed, node};
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use installed::{installed, python};
use support::clients::{JAVA, PYTHON, TYPESCRIPT, link, run};
use support::{Place, Process, exe};

const SHAPES: &str = exe!("shapes");

/// A worker, and a folder with the source code of a client.
struct World {
    place: Place,
    url: String,
    prefix: String,
    _worker: Process,
}

impl World {
    fn new(client: &str) -> Option<Self> {
        let url = node::shared_node()?.to_owned();
        let place = Place::new();
        let prefix = format!("t{}", &ork::JobId::new().to_string()[20..]);
        let mut command = place.command(SHAPES, &["worker"]);
        command.env("ORK_BROKER", &url).env("ORK_PREFIX", &prefix).env("ORK_EVENTS", "jobs");
        let mut worker = Process::start(command);
        worker.err_line(|line| line.contains("worker ready"));
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(client);
        for entry in std::fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, place.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        place.run(SHAPES, "schema export --output ork.schema.json").ok();
        place.run(SHAPES, "schema export --format draft7 --output ork.schema7.json").ok();
        Some(Self { place, url, prefix, _worker: worker })
    }

    /// Like `new`, with installed dependencies: `folders` are linked into the place. Also returns the folder of
    /// programs that take precedence in the `PATH`.
    fn with(client: &str, installed: Option<String>, folders: &[&str]) -> Option<(PathBuf, Self)> {
        let (installed, world) = (PathBuf::from(installed?), Self::new(client)?);
        for folder in folders {
            link(&world.place, &installed, folder);
        }
        Some((installed.join("node_modules/.bin"), world))
    }

    /// Replaces a piece of the client by a wrong one, and returns the output of the check, which must fail before the
    /// client runs.
    fn checked_with(&self, file: &str, (right, wrong): (&str, &str), check: &str, programs: &Path) -> String {
        let main = std::fs::read_to_string(self.place.path().join(file)).unwrap();
        assert!(main.contains(right), "{main}");
        self.place.write(file, main.replace(right, wrong));
        let ended = run(&self.place, check, programs);
        assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
        ended.out + &ended.err
    }

    fn client(&self, mut command: Command) -> String {
        command.args([&self.url, &self.prefix, "ork.schema.json"]);
        Process::start(command).end().ok()
    }
}

/// The output of every client. `large` is the largest number that the language supports here.
fn printed(large: &str, yes: &str) -> String {
    format!(
        "shapes Grüße {large} dark-green 0 2\n\
         refused input `text`: invalid type: integer `7`, expected a string\n\
         climbed 20 {yes}\n\
         cancelled cancelled\n"
    )
}

#[test]
fn a_python_client_is_generated_checked_and_run() {
    let (Some(python), Some(world)) = (python(), World::new("python")) else { return };
    let programs = Path::new(&python).parent().unwrap();
    let [generate, check] = PYTHON;
    assert_eq!(run(&world.place, generate, programs).code, Some(0));
    let checked = run(&world.place, check, programs);
    assert_eq!((checked.code, checked.out.as_str()), (Some(0), "Success: no issues found in 1 source file\n"));
    let printed_now = world.client(world.place.command(&python, &["main.py"]));
    assert_eq!(printed_now, printed("9223372036854775808", "True"));

    let wrong = ("ClimbInput(steps=20)", "ClimbInput(steps=\"20\")");
    let output = world.checked_with("main.py", wrong, check, programs);
    let message = "Argument \"steps\" to \"ClimbInput\" has incompatible type \"str\"; expected \"int\"";
    assert!(output.contains(message), "{output}");
}

#[test]
fn a_typescript_client_is_generated_checked_and_run() {
    let Some((programs, world)) = World::with("typescript", installed("node"), &["node_modules"]) else { return };
    let [generate, check] = TYPESCRIPT;
    for line in [generate, check] {
        let ended = run(&world.place, line, &programs);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
    }
    let printed_now = world.client(world.place.command("node", &["main.js"]));
    assert_eq!(printed_now, printed("9007199254740991", "true"));

    let output = world.checked_with("main.ts", ("{ steps: 20 }", "{ steps: \"20\" }"), check, &programs);
    assert!(output.contains("Type 'string' is not assignable to type 'number'"), "{output}");
}

#[test]
fn a_java_client_is_generated_checked_and_run() {
    let Some((programs, world)) = World::with("java", installed("java"), &["node_modules", "lib"]) else { return };
    std::fs::create_dir(world.place.path().join("tasks")).unwrap();
    let [generate, check] = JAVA;
    assert_eq!(run(&world.place, generate, &programs).code, Some(0));
    let checked = run(&world.place, check, &programs);
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""), "without a warning");
    let printed_now = world.client(world.place.command("java", &["-cp", "classes:lib/*", "Main"]));
    assert_eq!(printed_now, printed("9223372036854775807", "true"));

    let output = world.checked_with("Main.java", ("setSmall(255)", "setSmall(\"255\")"), check, &programs);
    assert!(output.contains("incompatible types: String cannot be converted to long"), "{output}");
}

/// Returns the first program in this language in the document.
fn shown(language: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/other-languages.md");
    let document = std::fs::read_to_string(document).unwrap();
    let program = document.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap().to_owned();
    assert!(program.contains("amqp://guest:guest@localhost/"), "{program}");
    program
}

#[test]
fn the_programs_in_the_document_run_as_described() {
    let (Some(python), Some(world)) = (python(), World::new("python")) else { return };
    let url = format!("{:?}", world.url);
    let here = shown("python").replace("\"amqp://guest:guest@localhost/\"", &url);
    let here = here.replace("events=True", &format!("events=True, prefix={:?}", world.prefix));
    world.place.write("main.py", here + "client.close()\n");
    assert_eq!(run(&world.place, PYTHON[0], Path::new(&python).parent().unwrap()).code, Some(0));
    let output = world.client(world.place.command(&python, &["main.py"]));
    assert!(output.contains("job.updated") && output.ends_with("\n20\n"), "{output}");

    let Some((programs, world)) = World::with("typescript", installed("node"), &["node_modules"]) else { return };
    let url = format!("{:?}", world.url);
    let here = shown("ts").replace("\"amqp://guest:guest@localhost/\"", &url);
    let here = here.replace("events: true", &format!("events: true, prefix: {:?}", world.prefix));
    world.place.write("main.ts", here + "console.log(steps);\nawait client.close();\n");
    for line in TYPESCRIPT {
        assert_eq!(run(&world.place, line, &programs).code, Some(0), "{line}");
    }
    let output = world.client(world.place.command("node", &["main.js"]));
    assert!(output.contains("job.updated") && output.ends_with("\n20\n"), "{output}");

    let Some((programs, world)) = World::with("java", installed("java"), &["node_modules", "lib"]) else { return };
    let url = format!("{:?}, {:?}", world.url, world.prefix);
    let here = shown("java").replace("\"amqp://guest:guest@localhost/\", \"ork\"", &url);
    world.place.write("Main.java", here);
    std::fs::create_dir(world.place.path().join("tasks")).unwrap();
    for line in JAVA {
        assert_eq!(run(&world.place, line, &programs).code, Some(0), "{line}");
    }
    let output = world.client(world.place.command("java", &["-cp", "classes:lib/*", "Main"]));
    assert!(output.contains("job.updated") && output.ends_with("\n20\n"), "{output}");
}
