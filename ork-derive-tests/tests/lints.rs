//! The expansion causes no warnings under strict lints, in a crate with as many public items as possible.

#![forbid(unsafe_code, non_camel_case_types, dead_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unnameable_types,
    unreachable_pub,
    unused_lifetimes,
    unused_qualifications,
    elided_lifetimes_in_paths,
    let_underscore_drop,
    clippy::pedantic,
    clippy::absolute_paths,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::min_ident_chars,
    clippy::missing_docs_in_private_items,
    clippy::panic,
    clippy::single_char_lifetime_names,
    clippy::std_instead_of_core,
    clippy::str_to_string,
    clippy::unused_trait_names,
    clippy::unwrap_used,
    clippy::wildcard_imports
)]
#![expect(
    clippy::fn_params_excessive_bools,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::unused_async,
    reason = "these functions have this form to test the expansion"
)]

use ork::{Context, Parts, Result, State, task};

/// A state.
#[derive(Debug)]
pub struct Scale(pub u32);

/// Measures one thing.
#[task(retries = 2, backoff = "1s", timeout = "1m", priority = 3, queue = "measures")]
pub async fn measure(
    /// Which.
    path: String,
    width: u32,
    _slack: Option<u32>,
    context: Context,
    scale: State<Scale>,
) -> Result<u32> {
    context.log(path);
    Ok(width * scale.0)
}

/// Yields the parts.
#[task(part, chunk = 100, on_error = "stop", tolerate = "5%")]
pub fn measure_part(paths: Vec<String>) -> Result<impl Iterator<Item = measure>> {
    Ok(paths.into_iter().map(|path| measure { path, width: 1, _slack: None }))
}

/// Combines the parts.
#[task(join)]
pub async fn measure_join(parts: Parts<u32>, _: Context) -> Result<u64> {
    Ok(parts.all_ok()?.collect().await?.into_iter().map(u64::from).sum())
}

/// Takes many flags with similar names.
#[task]
pub fn flags(flag_one: bool, flag_two: bool, flag_three: bool, flag_four: bool) -> u32 {
    [flag_one, flag_two, flag_three, flag_four].into_iter().map(u32::from).sum()
}

/// A deprecated task.
#[deprecated = "use `flags`"]
#[task]
pub fn outdated(value: u32) -> u32 {
    value
}

#[task]
fn private(input: Vec<u32>) -> u32 {
    input.into_iter().sum()
}

mod inner {
    use ork::task;

    #[task]
    pub(crate) fn main() {}

    #[task]
    pub(super) fn hidden(value: u32) {
        drop(value.to_string());
    }
}

/// Uses the items that otherwise only ork uses.
#[test]
fn messages_can_be_used() {
    assert_eq!(format!("{:?}", inner::hidden { value: 1 }), r#"hidden {"value":1}"#);
    assert_eq!(format!("{:?}", inner::main {}), "main {}");
}
