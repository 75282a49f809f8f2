//! A join: no message, but the answer of the whole job.

#[task(join)]
async fn thumbnail_join(parts: Parts<PathBuf>, context: Context) -> Result<Sheet> {
    fold(parts, context).await
}
