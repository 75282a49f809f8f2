//! The Python that tests use, with the packages that `.ci/python` installs.

/// Its program; `None` if there is none and none is required.
#[expect(clippy::print_stdout, reason = "a test that was skipped must say so")]
#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
pub fn python() -> Option<String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let python = set("ORK_TEST_PYTHON");
    if python.is_none() {
        let required = set("ORK_TEST_REQUIRE").unwrap_or_default();
        let words = "there is no Python: run `.ci/python target/python` and set ORK_TEST_PYTHON to what it prints";
        assert!(!required.split(',').any(|service| service.trim() == "python"), "{words}");
        println!("skipped: {words}");
    }
    python
}
