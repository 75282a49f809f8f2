//! A split that cannot be named, and one that can.

/// Splits an album.
#[task(part, chunk = 100, on_error = "stop", tolerate = "5%")]
fn thumbnail_part(album: PathBuf) -> Result<impl Iterator<Item = thumbnail>> {
    images(album)
}

#[task(part)]
async fn type_part(input: Vec<u8>) -> Vec<r#type> {
    input.into_iter().map(|n| r#type { n }).collect()
}
