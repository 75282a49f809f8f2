//! The cases over a folder.

use ork_ports::objects::ObjectErrorKind;
use ork_runtime::objects::bucket::Bucket;

use super::cases::{all, on};

#[test]
fn folder_passes_all_cases() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["file://", "file:"].map(|scheme| format!("{scheme}{}", folder.path().join("new/outputs").display())) {
        on(all(&url));
        // Removing objects also removes the folders that become empty.
        assert_eq!(folder.path().join("new/outputs").read_dir().unwrap().count(), 0);
    }
}

#[test]
fn unusable_url_is_rejected_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (url, expected) in [
        (format!("file:{}", file.display()), "the folder cannot be created"),
        ("file://".to_owned(), "the folder is missing"),
        ("ftp://host/path".to_owned(), "expected `file:PATH` or `s3://BUCKET/PREFIX`"),
        #[cfg(feature = "s3")]
        ("s3:///path".to_owned(), "the bucket is missing"),
        #[cfg(not(feature = "s3"))]
        ("s3://bucket/path".to_owned(), "without the feature `s3`"),
    ] {
        let error = Bucket::open(&url).unwrap_err();
        assert_eq!(error.kind(), ObjectErrorKind::Config);
        assert!(error.to_string().contains(expected) && error.to_string().contains(&url), "{error}");
    }
}
