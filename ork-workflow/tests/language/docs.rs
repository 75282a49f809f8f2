//! Tests of the documentation: its examples are valid workflows, and the list of errors is generated from the
//! gallery.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ork_workflow::{Catalog, Code, File, Level, NoCatalog, Style, Workflow};

use crate::catalog::TestCatalog;
use crate::support::{comment, differs, files, folder, given};

#[test]
fn examples_in_the_documentation_are_valid() {
    let document = std::fs::read_to_string(folder("../docs/workflow.md")).unwrap();
    let blocks: Vec<&str> = document.split("```yaml\n").skip(1).map(|it| it.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 5);
    for block in blocks {
        let checked = Workflow::read(File::new("example.yaml", block)).check(&NoCatalog, None);
        assert_eq!(checked.diagnostics, [], "{block}");
    }
}

/// Returns for each code the shortest gallery file that shows only this code, if possible, together with its
/// messages.
fn examples() -> BTreeMap<&'static str, (String, String)> {
    let known = TestCatalog::new();
    let mut found: BTreeMap<&'static str, (usize, String, String)> = BTreeMap::new();
    for (name, text) in files("tests/gallery", ".yaml") {
        let workflow = Workflow::read(File::new("workflow.yaml", &text));
        let catalog: &dyn Catalog = if comment(&text, "no catalog").is_some() { &NoCatalog } else { &known };
        let checked = workflow.check(catalog, given(&text).as_ref());
        let is_text = !text.contains(['\0', '\u{fffd}', '\t']);
        for diagnostic in checked.diagnostics.iter().filter(|_| is_text) {
            let others = checked.diagnostics.iter().filter(|it| it.code != diagnostic.code).count();
            let cost = others * 1_000 + checked.diagnostics.len() * 100 + text.len();
            let word = diagnostic.code.word();
            if found.get(word).is_none_or(|(least, ..)| cost < *least) {
                let shown = checked.render(workflow.file(), Style::Plain);
                found.insert(word, (cost, text.clone(), shown));
            }
        }
        assert!(name.len() > 4);
    }
    found.into_iter().map(|(word, (_, text, shown))| (word, (text, shown))).collect()
}

#[test]
fn list_of_errors_is_generated_from_the_gallery() {
    let examples = examples();
    let mut page = "# Errors and warnings in workflows\n\n\
        Each error and warning has a stable code. Below it is an example, and the message that ork prints. The \
        tasks in the\nexamples are those of a test. This page is generated from the gallery of the tests; [the \
        language](workflow.md) has its\nown page.\n"
        .to_owned();
    for code in Code::ALL {
        let level = if code.level() == Level::Warning { " (a warning)" } else { "" };
        write!(page, "\n## `{code}`{level}\n\n{}\n", code.means()).unwrap();
        if let Some((text, shown)) = examples.get(code.word()) {
            write!(page, "\n```yaml\n{}\n```\n\n```text\n{}\n```\n", text.trim_end(), shown.trim_end()).unwrap();
        }
    }
    assert_eq!(differs(&folder("../docs/workflow-errors.md"), &page), None);
}
