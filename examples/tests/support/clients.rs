//! The commands of `docs/other-languages.md` that generate the types of clients in other languages.

use std::path::Path;

use super::{Ended, Place, Process};

/// Generates and checks the types of a Python client.
pub(crate) const PYTHON: [&str; 2] = [
    "datamodel-codegen --input ork.schema.json --input-file-type jsonschema --output models.py \
     --output-model-type pydantic_v2.BaseModel --target-python-version 3.10 --use-annotated --strict-nullable \
     --collapse-root-models --formatters builtin",
    "mypy --strict main.py",
];

/// Generates and checks the types of a TypeScript client.
pub(crate) const TYPESCRIPT: [&str; 2] = [
    "npx json2ts --input ork.schema7.json --output tasks.ts --unreachableDefinitions --additionalProperties=false",
    "npx tsc",
];

/// Generates and checks the types of a Java client.
pub(crate) const JAVA: [&str; 2] = [
    "npx quicktype --src-lang schema --lang java --array-type list --package tasks \
     --out tasks/Tasks.java ork.schema7.json#/definitions/",
    "javac -Xlint:all -cp lib/* -sourcepath . -d classes Main.java",
];

/// Links a folder of an installation into the place.
pub(crate) fn link(place: &Place, installed: &Path, name: &str) {
    std::os::unix::fs::symlink(installed.join(name), place.path().join(name)).unwrap();
}

/// Runs one of the commands, with these programs first in the `PATH`.
pub(crate) fn run(place: &Place, line: &str, programs: &Path) -> Ended {
    let args: Vec<_> = line.split_whitespace().collect();
    let mut command = place.command("env", &args);
    command.env("PATH", paths(programs));
    Process::start(command).end()
}

#[expect(clippy::disallowed_methods, reason = "the programs of a test are found as those of a user are")]
fn paths(first: &Path) -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([first.to_owned()].into_iter().chain(std::env::split_paths(&rest))).unwrap()
}
