//! No import cycles: the files of a crate can be read from the bottom up.
//!
//! A file imports another one if it names a path in it. The `mod.rs` of a folder and the files of that folder may
//! import each other: they are one room. What `lib.rs` re-exports is the file that defines it.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{paths, tokens};
use super::{crates, files, none};

/// The path of a module from the root of its crate.
type Path = Vec<String>;

struct Module {
    file: String,
    /// The paths that it names, from the root of the crate.
    names: BTreeSet<Path>,
    /// The paths of the names that it imports or re-exports.
    imports: BTreeMap<String, Path>,
}

impl Module {
    /// Whether the module is the `mod.rs` of a folder, or the root.
    fn is_folder(&self) -> bool {
        self.file.ends_with("/mod.rs") || self.file.ends_with("/lib.rs")
    }
}

/// Reads the modules of a crate.
fn modules(name: &str) -> BTreeMap<Path, Module> {
    let folder = format!("{name}/src");
    let mut all = BTreeMap::new();
    for (file, code) in files(&folder, ".rs") {
        let inner = file.strip_prefix(&folder).unwrap().trim_start_matches('/').strip_suffix(".rs").unwrap();
        let mut path: Path = inner.split('/').map(str::to_owned).collect();
        if path.last().is_some_and(|last| last == "mod" || last == "lib") {
            path.pop();
        }
        // Expanded code may call functions of any module.
        if path != ["private"] {
            let (names, imports) = named(&path, &tokens(&code));
            all.insert(path, Module { file, names, imports });
        }
    }
    all
}

/// Returns every path of its own crate that a module names, and what its `use` items bring into scope.
fn named(module: &Path, tokens: &[String]) -> (BTreeSet<Path>, BTreeMap<String, Path>) {
    let (mut names, mut imports) = (BTreeSet::new(), BTreeMap::new());
    for at in 0..tokens.len() {
        let is_start = tokens.get(at + 1).is_some_and(|next| next == "::") && (at == 0 || tokens[at - 1] != "::");
        let is_use = at > 0 && tokens[at - 1] == "use";
        let (mut base, mut next) = match tokens[at].as_str() {
            "crate" if is_start => (Path::new(), at + 2),
            "self" if is_start => (module.clone(), at + 2),
            "super" if is_start => (module[..module.len().saturating_sub(1)].to_vec(), at + 2),
            // `use child::Name` in the file of a folder.
            _ if is_use && is_start => (module.clone(), at),
            _ => continue,
        };
        while tokens[next] == "super" {
            base.pop();
            next += 2;
        }
        let mut found = Vec::new();
        paths(&tokens[next..], &base, &mut found);
        for mut path in found {
            path.retain(|segment| segment != "self");
            if is_use && let Some(name) = path.last() {
                imports.insert(name.clone(), path.clone());
            }
            names.insert(path);
        }
    }
    (names, imports)
}

/// Returns the module that defines a path: the longest module that it begins with or, if that only imports the name,
/// the one that it is imported from.
fn definer(all: &BTreeMap<Path, Module>, path: &Path) -> Path {
    let mut path = path.clone();
    // Names that are re-exported by each other do not compile, so this ends; ten steps are more than there are.
    for _ in 0..10 {
        let module = (0..=path.len()).rev().map(|len| &path[..len]).find(|start| all.contains_key(*start));
        let Some(module) = module else { return Path::new() };
        let rest = &path[module.len()..];
        let source = &all[module];
        match rest.first().and_then(|name| source.imports.get(name)).filter(|_| source.is_folder()) {
            Some(import) if *import != path => path = import.iter().chain(&rest[1..]).cloned().collect(),
            _ => return module.to_vec(),
        }
    }
    panic!("`{}` is re-exported in a circle", path.join("::"))
}

/// Returns which modules each module imports.
fn imports(all: &BTreeMap<Path, Module>) -> BTreeMap<&Path, BTreeSet<Path>> {
    let is_room = |folder: &Path, inner: &Path| inner.starts_with(folder) && all[folder].is_folder();
    let of = |path: &Path, module: &Module| -> BTreeSet<Path> {
        let definers = module.names.iter().map(|name| definer(all, name));
        definers.filter(|other| other != path && !is_room(path, other) && !is_room(other, path)).collect()
    };
    all.iter().map(|(path, module)| (path, of(path, module))).collect()
}

/// Returns a cycle, if there is one.
fn cycle(graph: &BTreeMap<&Path, BTreeSet<Path>>) -> Option<Vec<Path>> {
    let mut left: BTreeMap<&Path, BTreeSet<&Path>> =
        graph.iter().map(|(path, others)| (*path, others.iter().collect())).collect();
    // What imports nothing that is left is in no cycle.
    loop {
        let free: Vec<_> = left.iter().filter(|(_, others)| others.is_empty()).map(|(path, _)| *path).collect();
        if free.is_empty() {
            break;
        }
        for path in free {
            left.remove(path);
            for others in left.values_mut() {
                others.remove(path);
            }
        }
    }
    // Each of those that are left imports another one of them, so a walk comes back to where it was.
    let mut walk = vec![*left.keys().next()?];
    loop {
        let next = *left[walk.last()?].first()?;
        if let Some(begin) = walk.iter().position(|seen| *seen == next) {
            return Some(walk[begin..].iter().map(|path| (*path).clone()).collect());
        }
        walk.push(next);
    }
}

#[test]
fn files_have_no_import_cycles() {
    let (mut problems, mut n_imports) = (Vec::new(), 0);
    for name in crates() {
        let all = modules(&name);
        let graph = imports(&all);
        n_imports += graph.values().map(BTreeSet::len).sum::<usize>();
        if let Some(cycle) = cycle(&graph) {
            let files: Vec<_> = cycle.iter().map(|path| all[path].file.as_str()).collect();
            problems.push(format!("these files import each other in a circle: {}", files.join(" -> ")));
        }
    }
    assert!(n_imports > 500, "only {n_imports} imports were found");
    none(&problems);
}

/// Adapters that are in the crate of the ports' users: the folder of their port, and their module.
const ADAPTERS: [[&str; 2]; 7] = [
    ["broker", "embedded"],
    ["clock", "system"],
    ["entropy", "system"],
    ["objects", "bucket"],
    ["runtime", "system"],
    ["store", "memory"],
    ["store", "none"],
];

/// The manifests keep the other adapters apart: `crates.rs`.
#[test]
fn only_the_builder_names_adapters() {
    let (mut problems, mut n_names) = (Vec::new(), 0);
    for (path, module) in modules("ork-runtime") {
        for name in &module.names {
            let Some(adapter) = ADAPTERS.iter().find(|adapter| name.len() > 1 && name[..2] == **adapter) else {
                continue;
            };
            let is_inside = path.starts_with(&adapter.map(str::to_owned));
            if path.first().is_some_and(|first| first == "app") {
                n_names += 1;
            } else if !is_inside {
                problems.push(format!(
                    "{}: only `app` chooses adapters, this names `{}`",
                    module.file,
                    name.join("::")
                ));
            }
        }
    }
    assert!(n_names >= 5, "only {n_names} names of adapters were found");
    none(&problems);
}

#[test]
fn cycle_is_found_and_a_room_is_none() {
    let path = |text: &str| -> Path { text.split("::").map(str::to_owned).collect() };
    let module = |file: &str, at: &str, code: &str| {
        let (names, imports) = named(&path(at), &tokens(code));
        (path(at), Module { file: file.to_owned(), names, imports })
    };
    let acyclic = [
        module("/a/mod.rs", "a", "mod b; pub use b::B; use crate::c::C;"),
        module("/a/b.rs", "a::b", "use super::A; use crate::c::{self, C};"),
        module("/c.rs", "c", "fn f() { std::mem::drop(1) }"),
    ];
    let all = BTreeMap::from(acyclic);
    let graph = imports(&all);
    assert_eq!(graph[&path("a")], [path("c")].into());
    assert_eq!(cycle(&graph), None);

    let circle = [
        module("/a/mod.rs", "a", "mod b; pub use b::B;"),
        module("/a/b.rs", "a::b", "use crate::c::C;"),
        // The name is defined in `a::b`, which `a` only re-exports.
        module("/c.rs", "c", "use crate::a::B;"),
    ];
    let all = BTreeMap::from(circle);
    assert_eq!(cycle(&imports(&all)), Some(vec![path("a::b"), path("c")]));
}
