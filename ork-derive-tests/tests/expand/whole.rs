//! A task with two inputs.

/// Makes one thumbnail.
#[task]
async fn thumbnail(path: PathBuf, width: u32) -> Result<PathBuf> {
    shrink(path, width).await
}
