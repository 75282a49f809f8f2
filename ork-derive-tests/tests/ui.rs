//! Tests the compile error of each mistake. Bless with `TRYBUILD=overwrite`, then review the changes.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*/*.rs");
    cases.pass("tests/pass/*.rs");
}
