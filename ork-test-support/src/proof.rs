//! Figures that a proof has measured, one per line in the file that `ORK_TEST_PROOF` names. `.ci/prove` adds them up.

use std::io::Write as _;

/// Records a figure.
pub fn note(what: &str, n: usize) {
    let Some(path) = environment("ORK_TEST_PROOF") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    // One write per line, so that concurrent tests do not mix theirs.
    file.write_all(format!("{what} {n}\n").as_bytes()).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
