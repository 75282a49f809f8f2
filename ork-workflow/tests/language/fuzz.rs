//! Fuzz tests: no input makes the checker panic, and every reported location is inside the text.

use ork_workflow::{File, NoCatalog, Parameters, Report, Style, Workflow};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::catalog::TestCatalog;
use crate::support::files;

/// Fragments of YAML and of the language that mutations insert.
const PIECES: &[&str] = &[
    "\n",
    "  ",
    "\t",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!t ",
    "<<: ",
    "? ",
    "| ",
    ">\n",
    "'",
    "\"",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "\\",
    "\u{0}",
    "\u{feff}",
    "é",
    "🦀",
    "\r\n",
    "\u{2028}",
    ",",
    ".",
    "..",
    "null",
    "~",
    "true",
    "0",
    "-1",
    "1e9",
    "99999999999999999999",
    "tasks",
    "input",
    "item",
    "foreach: discover.files",
    "parallel: 3",
    "depends_on: [discover]",
    "on_failure: run",
    "discover",
    "process",
    "schedule: \"* * * * *\"",
    "\"\\u0000\"",
    "\"\\uD800\"",
    "0 0 31 12 *",
];

fn check(text: &str) {
    let file = File::new("fuzz.yaml", text);
    let workflow = Workflow::read(file);
    for checked in [workflow.check(&TestCatalog::new(), Some(&Parameters::new())), workflow.check(&NoCatalog, None)] {
        assert_eq!(checked.plan.is_some(), !checked.has_errors(), "{text}");
        for diagnostic in &checked.diagnostics {
            let spans = diagnostic.span.into_iter().chain(diagnostic.labels.iter().map(|it| it.span));
            for span in spans {
                assert!(text.get(span.start..span.end).is_some(), "{span:?} of {text:?}: {diagnostic:?}");
            }
            serde_json::to_string(&Report::new(workflow.file(), diagnostic)).unwrap();
        }
        checked.render(workflow.file(), Style::Coloured);
        for step in checked.plan.iter().flat_map(|plan| plan.steps.iter().enumerate()) {
            assert!(step.1.needs.iter().all(|need| *need < step.0), "{text}");
        }
    }
}

fn texts() -> Vec<String> {
    let all = ["tests/gallery", "tests/seed", "tests/plans"].into_iter().flat_map(|folder| files(folder, ".yaml"));
    all.map(|(_, text)| text).filter(|text| text.len() < 2_000).collect()
}

fn place(text: &str, index: Index) -> usize {
    text.floor_char_boundary(index.index(text.len() + 1))
}

proptest! {
    #[test]
    fn mutated_workflows_do_not_panic(
        text in select(texts()),
        changes in vec((any::<Index>(), any::<Index>(), select(PIECES), 0..4_u8), 1..6),
    ) {
        let mut text = text;
        for (from, to, piece, kind) in changes {
            let (a, b) = (place(&text, from), place(&text, to));
            let (a, b) = (a.min(b), a.max(b));
            match kind {
                0 => text.insert_str(a, piece),
                1 => text.replace_range(a..text.ceil_char_boundary((a + 5).min(text.len())), piece),
                2 => text.replace_range(a..b, ""),
                _ => {
                    let copy = text[a..b].to_owned();
                    text.insert_str(a, &copy);
                }
            }
        }
        check(&text);
    }

    #[test]
    fn random_fragments_do_not_panic(pieces in vec(select(PIECES), 0..40)) {
        check(&pieces.concat());
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..200)) {
        let workflow = Workflow::read(File::from_bytes("fuzz.yaml", &bytes));
        let checked = workflow.check(&NoCatalog, None);
        checked.render(workflow.file(), Style::Plain);
    }
}

/// Returns many tasks that all depend on each other and take all parameters.
fn large_tasks() -> String {
    let all: Vec<String> = (0..150).map(|at| format!("t{at}")).collect();
    let task = |name: &String| format!("  {name}: {{task: anything, depends_on: [{}]}}\n", all.join(", "));
    all.iter().map(task).collect::<Vec<_>>().concat()
}

/// Inputs that are expensive by design are still checked in reasonable time.
#[test]
fn expensive_inputs_are_checked_in_reasonable_time() {
    for text in [
        "[".repeat(1 << 19),
        "{a: ".repeat(100_000),
        "- ".repeat(200_000),
        "? ".repeat(200_000),
        "a: &b [*b, *b]\n".repeat(20_000),
        format!("tasks:\n  a: {{{}}}", "depends_on: b, ".repeat(20_000)),
        format!("tasks:\n  a:\n    depends_on: [{}]", "b, ".repeat(100_000)),
        format!("tasks: {{a: {{foreach: {}}}}}", "b.".repeat(200_000)),
        format!("tasks:\n  a:\n    input:\n      x: {}", "'\n\n".repeat(100_000)),
        "\"".to_owned() + &"\\u00e9".repeat(100_000),
        format!("tasks:\n  report:\n    input:\n      day: x\n      recipients: [{}]", "1, ".repeat(100_000)),
        "input:\n".to_owned()
            + &(0..900).map(|at| format!("  p{at}:\n")).collect::<Vec<_>>().concat()
            + "tasks:\n"
            + &large_tasks(),
    ] {
        let workflow = Workflow::read(File::new("slow.yaml", text));
        let checked = workflow.check(&TestCatalog::new(), None);
        assert!(checked.has_errors());
        checked.render(workflow.file(), Style::Plain);
    }
}
