//! A join: it has no message, but the result of the whole job.

#[task(join)]
async fn thumbnail_join(parts: Parts<PathBuf>, context: Context) -> Result<Sheet> {
    fold(parts, context).await
}
