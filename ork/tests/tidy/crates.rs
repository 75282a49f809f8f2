//! What the manifests of crates may name.

use std::collections::BTreeSet;

use super::root;

/// Returns the names of the dependencies in a manifest, without those of its tests.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join(manifest)).unwrap();
    let lines = text.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let entries = lines.take_while(|line| !line.starts_with('['));
    entries
        .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()))
        .map(str::to_owned)
        .collect()
}

/// Cargo keeps the direction between crates, but accepts any new dependency: `docs/decisions/0033-crates.md`.
#[test]
fn core_depends_on_no_runtime_and_adapters_do_not_depend_on_the_engine() {
    let core = dependencies("ork-core/Cargo.toml");
    assert!(core.contains("serde"), "the dependencies were not found: {core:?}");
    let runtimes =
        ["async-trait", "lapin", "ork-ports", "ork-runtime", "rusqlite", "sqlx", "tokio", "tokio-util", "tracing"];
    for name in runtimes {
        assert!(!core.contains(name), "ork-core depends on {name}");
    }
    let adapters = ["ork-amqp", "ork-executor", "ork-postgres", "ork-sqlite"];
    for adapter in adapters {
        let all = dependencies(&format!("{adapter}/Cargo.toml"));
        assert!(all.contains("ork-core") && all.contains("ork-ports"), "{adapter}: {all:?}");
        assert!(!all.contains("ork-runtime"), "{adapter} depends on ork-runtime");
    }
    for surface in ["ork-cli", "ork-runtime"] {
        let all = dependencies(&format!("{surface}/Cargo.toml"));
        for adapter in adapters {
            assert!(!all.contains(adapter), "{surface} depends on {adapter}: only the crate ork knows the adapters");
        }
    }
}
