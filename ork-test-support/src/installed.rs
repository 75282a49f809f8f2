//! Software that tests use and that is not part of this workspace: the Python, Node.js and Java that scripts in `.ci`
//! install.

/// Returns the path of `what`, e.g. `node`; `None` if it is not installed and not required.
#[expect(clippy::print_stdout, reason = "a test that was skipped must say so")]
#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
pub fn installed(what: &str) -> Option<String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let variable = format!("ORK_TEST_{}", what.to_uppercase());
    let place = set(&variable);
    if place.is_none() {
        let required = set("ORK_TEST_REQUIRE").unwrap_or_default();
        let message =
            format!("there is no {what}: run `.ci/{what} target/{what}` and set {variable} to what it prints");
        assert!(!required.split(',').any(|service| service.trim() == what), "{message}");
        println!("skipped: {message}");
    }
    place
}

/// Returns the path of Python with its packages; `None` if it is not installed and not required.
pub fn python() -> Option<String> {
    installed("python")
}
