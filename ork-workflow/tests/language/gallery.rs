//! The gallery: invalid workflows, each with the expected messages.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ork_workflow::{Catalog, Code, File, NoCatalog, Style, Workflow};

use crate::catalog::TestCatalog;
use crate::support::{comment, differs, files, folder, given};

#[test]
fn invalid_workflows_have_the_expected_messages() {
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    let known = TestCatalog::new();
    for (name, text) in files("tests/gallery", ".yaml") {
        let path = folder("tests/gallery").join(&name);
        let workflow = Workflow::read(File::from_bytes(&name[4..], &std::fs::read(&path).unwrap()));
        let catalog: &dyn Catalog = if comment(&text, "no catalog").is_some() { &NoCatalog } else { &known };
        let checked = workflow.check(catalog, given(&text).as_ref());
        seen.extend(checked.diagnostics.iter().map(|it| it.code));
        let is_warning = comment(&text, "only a warning").is_some();
        assert_eq!(checked.plan.is_some(), is_warning, "{name}: a plan");
        assert_eq!(checked.has_errors(), !is_warning, "{name}: errors");
        assert!(!checked.diagnostics.is_empty(), "{name}: no diagnostics");
        let shown = checked.render(workflow.file(), Style::Plain);
        assert!(!shown.contains('\u{1b}'));
        wrong.extend(differs(&path.with_extension("expect"), &shown));
        assert_eq!(workflow.check(catalog, given(&text).as_ref()), checked, "{name}: a second check differs");
    }
    seen.extend(large().iter().map(|(_, code)| *code));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "no broken workflow shows {missing:?}");
}

/// Workflows that are too large to be stored as files.
fn large() -> Vec<(String, Code)> {
    let mut tasks = "tasks:\n".to_owned();
    for number in 0..1_001 {
        writeln!(tasks, "  t{number}: {{task: discover}}").unwrap();
    }
    vec![(format!("# {}\n", "x".repeat(1 << 20)), Code::TooLong), (tasks, Code::TaskCount)]
}

#[test]
fn too_large_workflows_are_rejected() {
    for (text, code) in large() {
        let checked = Workflow::read(File::new("large.yaml", text)).check(&TestCatalog::new(), None);
        let codes: Vec<Code> = checked.diagnostics.iter().map(|it| it.code).collect();
        assert_eq!(codes, [code]);
        assert_eq!(checked.plan, None);
    }
}
