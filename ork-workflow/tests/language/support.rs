//! Access to the test files, and comparison with expected files.

use std::path::{Path, PathBuf};

use ork_workflow::{Given, Parameters};

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the files of a folder with this extension, sorted by name, with their contents.
pub(crate) fn files(name: &str, end: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned())
    };
    paths.into_iter().map(read).collect()
}

/// Compares a text with a file, or writes the file if `ORK_BLESS` is set. Returns a description of the difference.
#[must_use]
pub(crate) fn differs(path: &Path, text: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test has no config")]
    let is_blessed = std::env::var_os("ORK_BLESS").is_some();
    if is_blessed {
        std::fs::write(path, text).unwrap();
        return None;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    (expected != text).then(|| format!("{} differs (ORK_BLESS=1 writes it)\n{text}", path.display()))
}

/// Returns the text after a word in the comments at the beginning of a workflow.
pub(crate) fn comment<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let mut lines = text.lines().take_while(|line| line.starts_with("# "));
    lines.find_map(|line| line.strip_prefix("# ")?.strip_prefix(word)).map(str::trim)
}

/// Returns the parameters from the comment `# given: name=text name=text`; `None` if the workflow is not checked for
/// a run.
pub(crate) fn given(text: &str) -> Option<Parameters> {
    let pairs = comment(text, "given:")?.split_whitespace();
    Some(pairs.map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (k.into(), Given::Text(v.into()))).collect())
}
