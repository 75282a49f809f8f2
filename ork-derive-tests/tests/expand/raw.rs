//! Raw identifiers, and documentation that only the compiler can read.

/// One.
#[doc = include_str!("two.md")]
#[task]
fn r#type(r#match: u8, mut _unused: u8) -> u8 {
    r#match
}
