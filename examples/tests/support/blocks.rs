//! The fenced code blocks, the links and the lines of a document.

use std::path::Path;

/// A fenced code block.
#[derive(Debug)]
pub(crate) struct Block {
    /// The last heading of level two above it; empty if there is none.
    pub(crate) heading: &'static str,
    /// What follows the opening fence: the language, and words for the test that runs the block.
    pub(crate) info: &'static str,
    pub(crate) lines: Vec<&'static str>,
}

impl Block {
    /// Returns the lines as one text.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

/// Returns the code blocks of a document, in order.
pub(crate) fn blocks(document: &'static str) -> Vec<Block> {
    let (mut blocks, mut heading, mut open): (Vec<Block>, _, _) = (Vec::new(), "", false);
    for line in document.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(info), false) => {
                blocks.push(Block { heading, info, lines: Vec::new() });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => blocks.last_mut().unwrap().lines.push(line),
            (None, false) => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    assert!(!open, "the last code block is not closed");
    blocks
}

/// Returns the lines of a document outside of code blocks.
fn prose(document: &'static str) -> impl Iterator<Item = &'static str> {
    let mut open = false;
    document.lines().filter(move |line| {
        let fence = line.starts_with("```");
        open ^= fence;
        !open && !fence
    })
}

/// Asserts that the links of a document lead to existing files, and those within it to existing headings.
pub(crate) fn assert_links(document: &'static str, folder: &Path) {
    let anchor = |heading: &str| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    let headings = |text: &str| -> Vec<_> {
        text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
    };
    for link in document.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        if link.starts_with("http") {
            continue;
        }
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let path = folder.join(file);
        assert!(path.exists(), "{link}");
        if !heading.is_empty() {
            let text = if file.is_empty() { document.to_owned() } else { std::fs::read_to_string(path).unwrap() };
            assert!(headings(&text).iter().any(|found| found == heading), "{link}");
        }
    }
}

/// Asserts that lines of prose are not too long. Rows of tables cannot be broken.
pub(crate) fn assert_width(document: &'static str) {
    for line in prose(document).filter(|line| !line.starts_with('|')) {
        assert!(line.chars().count() <= 120, "{line}");
    }
}
