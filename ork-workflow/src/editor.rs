//! The JSON Schema of the workflow language, with which editors complete keys and mark errors.

/// Returns the JSON Schema (draft 2020-12) of a workflow file. It covers keys, enumerated words and value types;
/// [`Workflow::check`](crate::Workflow::check) covers the rest.
pub fn json_schema() -> &'static str {
    include_str!("workflow.schema.json")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::diagnostic::{Code, Problems};
    use crate::{File, NoCatalog, Workflow, yaml};

    /// The errors that a validator with the schema must find as well.
    const FOUND: &[Code] = &[
        Code::MissingKey,
        Code::TaskCount,
        Code::UnknownKey,
        Code::UnknownWord,
        Code::WrongExecutor,
        Code::WrongValue,
    ];

    fn texts() -> Vec<(String, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let folders = ["gallery", "seed"].map(|it| std::fs::read_dir(root.join(it)).unwrap());
        let paths = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
        let paths = paths.filter(|path| path.extension().is_some_and(|it| it == "yaml"));
        paths.filter_map(|path| Some((path.display().to_string(), std::fs::read_to_string(&path).ok()?))).collect()
    }

    #[test]
    fn editor_schema_agrees_with_the_check() {
        let schema: Value = serde_json::from_str(json_schema()).unwrap();
        assert!(jsonschema::draft202012::meta::is_valid(&schema));
        let validator = jsonschema::validator_for(&schema).unwrap();
        let (mut n_valid, mut n_invalid) = (0, 0);
        for (path, text) in texts() {
            let file = File::new("x.yaml", text);
            let mut problems = Problems::default();
            let Some(json) = yaml::read(&file, &mut problems).and_then(|root| root.json()) else { continue };
            if problems.count() > 0 {
                continue;
            }
            let checked = Workflow::read(file).check(&NoCatalog, None);
            let is_found = checked.diagnostics.iter().any(|it| FOUND.contains(&it.code));
            let errors: Vec<String> = validator.iter_errors(&json).map(|it| it.to_string()).collect();
            if !checked.has_errors() {
                assert!(errors.is_empty(), "{path}: {errors:?}");
                n_valid += 1;
            } else if is_found {
                assert!(!errors.is_empty(), "{path}: an editor finds nothing");
                n_invalid += 1;
            }
        }
        assert!(n_valid > 20 && n_invalid > 10, "{n_valid} and {n_invalid}");
    }
}
