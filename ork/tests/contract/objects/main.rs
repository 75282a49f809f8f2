//! The contract of the object store for large outputs, run over a folder and over a server that speaks S3.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "these are tests")]

mod cases;
mod folder;
use ork_test_support::installed;
#[cfg(feature = "s3")]
mod s3;
