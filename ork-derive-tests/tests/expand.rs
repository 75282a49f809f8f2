//! The expansions of the attribute, as files that a reviewer can read: `expand/NAME.rs` and
//! `expand/NAME.expanded.rs`.
//!
//! The modules of the macro are compiled into this test and called with tokens. `ORK_BLESS=1` rewrites the files.

#![expect(clippy::unwrap_used, reason = "helpers of a test may panic like the test")]

use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens as _;
use syn::{File, Item, ItemFn, Meta};

#[path = "../../ork-macros/src/task/mod.rs"]
mod task;

#[test]
fn expansions_match_the_files() {
    let mut cases: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| !path.to_string_lossy().ends_with(".expanded.rs"));
    cases.sort();
    let wrong: Vec<_> = cases.iter().filter_map(|case| difference(case)).collect();
    assert!(cases.len() > 5, "the cases are not there: {cases:?}");
    assert!(wrong.is_empty(), "ORK_BLESS=1 rewrites the files:\n{}", wrong.join("\n"));
}

/// The size of an expansion is guaranteed: see `docs/performance.md`.
#[test]
fn task_with_two_inputs_adds_few_lines() {
    let source = fs::read_to_string(folder().join("whole.rs")).unwrap();
    let lines = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).count();
    let added = lines(&expand(&source)) - lines(&source);
    assert!((17..=52).contains(&added), "{added} lines");
}

#[test]
fn invalid_item_is_still_emitted() {
    let item: proc_macro2::TokenStream = "struct Album { path: String }".parse().unwrap();
    let expanded = task::expand("retries = 3".parse().unwrap(), &item).to_string();
    assert!(expanded.starts_with(&item.to_string()), "{expanded}");
    assert!(expanded.contains("compile_error"), "{expanded}");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expand")
}

/// Compares a pair of files. Returns the first difference.
fn difference(case: &Path) -> Option<String> {
    let expanded = expand(&fs::read_to_string(case).unwrap());
    let path = case.with_extension("expanded.rs");
    if std::env::vars_os().any(|(name, _)| name == "ORK_BLESS") {
        fs::write(&path, &expanded).unwrap();
        return None;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected == expanded {
        return None;
    }
    let line = expected.lines().zip(expanded.lines()).take_while(|(expected, expanded)| expected == expanded).count();
    Some(format!(
        "{}:{}: expected `{}`, expanded `{}`",
        path.display(),
        line + 1,
        expected.lines().nth(line).unwrap_or_default(),
        expanded.lines().nth(line).unwrap_or_default(),
    ))
}

/// Expands each `#[task]` of a file.
fn expand(source: &str) -> String {
    let mut file: File = syn::parse_str(source).unwrap();
    file.items = file.items.into_iter().flat_map(expand_item).collect();
    prettyplease::unparse(&file)
}

fn expand_item(item: Item) -> Vec<Item> {
    let Item::Fn(mut function) = item else {
        return vec![item];
    };
    let Some(options) = take_attribute(&mut function) else {
        return vec![Item::Fn(function)];
    };
    let expanded = task::expand(options, &function.into_token_stream());
    syn::parse2::<File>(expanded).unwrap().items
}

fn take_attribute(function: &mut ItemFn) -> Option<proc_macro2::TokenStream> {
    let place = function.attrs.iter().position(|attr| attr.path().is_ident("task"))?;
    match function.attrs.remove(place).meta {
        Meta::List(list) => Some(list.tokens),
        Meta::Path(_) | Meta::NameValue(_) => Some(proc_macro2::TokenStream::new()),
    }
}
