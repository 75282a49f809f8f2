//! Every mistake, and the words for it. Bless with `TRYBUILD=overwrite`, then read what changed.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*/*.rs");
    cases.pass("tests/pass/*.rs");
}
