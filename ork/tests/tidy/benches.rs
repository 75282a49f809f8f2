//! The commands that run the benchmarks: each enables the features that its benchmark requires.

use super::{files, none, root};

/// Returns the strings of a list in a manifest: `key = ["a", "b"]`.
fn list<'a>(lines: impl IntoIterator<Item = &'a str>, key: &str) -> Vec<&'a str> {
    let line = lines.into_iter().find(|line| line.starts_with(key) && line[key.len()..].starts_with(" = ["));
    line.map(|line| line.split('"').skip(1).step_by(2).collect()).unwrap_or_default()
}

#[test]
fn documented_commands_enable_the_features_of_their_benchmarks() {
    let manifest = std::fs::read_to_string(root().join("ork/Cargo.toml")).unwrap();
    let default = list(manifest.lines(), "default");
    assert!(default.contains(&"sqlite"), "{default:?}");
    let mut texts = files("docs", ".md");
    texts.extend(files("ork/benches", ".rs"));
    texts.push(("CONTRIBUTING.md".to_owned(), std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap()));
    let (mut problems, mut seen) = (Vec::new(), 0);
    for (file, text) in &texts {
        for command in text.split('`').filter(|code| code.starts_with("cargo bench ")) {
            seen += 1;
            let words: Vec<_> = command.split_whitespace().collect();
            let value_of = |option: &str| words.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1]);
            let section = manifest.split("[[bench]]").skip(1).find(|section| {
                value_of("--bench").is_some_and(|name| section.lines().nth(1) == Some(&format!("name = \"{name}\"")))
            });
            let Some(section) = section else {
                problems.push(format!("{file}: `{command}` names no benchmark"));
                continue;
            };
            let lines = section.lines().take_while(|line| !line.starts_with("[["));
            let enabled: Vec<_> =
                value_of("--features").unwrap_or_default().split(',').chain(default.clone()).collect();
            for feature in list(lines, "required-features").into_iter().filter(|feature| !enabled.contains(feature)) {
                problems.push(format!("{file}: `{command}` does not enable the feature `{feature}`"));
            }
        }
    }
    assert!(seen > 10, "only {seen} commands were checked");
    none(&problems);
}
