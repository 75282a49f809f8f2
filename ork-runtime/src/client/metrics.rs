//! Reading the measurements that jobs have recorded.

use std::collections::HashSet;

use super::{Client, ClientError};
use crate::id::JobId;
use crate::metric::Metric;
use crate::store::MetricsOf;

impl Client {
    /// Returns what a job and all jobs below it have recorded with
    /// [`Metrics::record`](crate::context::Metrics::record); for a workflow run this is what its steps have recorded.
    ///
    /// All values that one job recorded under one name with the same labels are one [`Metric`], whichever of its
    /// parts and attempts they come from. The metrics are sorted by job, which is the order of submission, then by
    /// name and labels.
    ///
    /// Values recorded in this process are included at once, those of other processes about a second later.
    ///
    /// ```
    /// # #[ork::task] async fn load(rows: u64, context: ork::Context) {
    /// #     for row in 0..rows { context.metrics().record("bytes", row as f64, &[("table", "users")]); }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ork = ork::builder().store("memory:").build().await?;
    /// # ork.spawn_worker();
    /// let job = ork.submit(load { rows: 5 }).await?;
    /// job.result().await?;
    /// for metric in ork.metrics(job.id()).await? {
    ///     println!("{} {} {:?}: {} values, {} on average", metric.task, metric.name, metric.labels, metric.count, metric.mean());
    /// #   assert_eq!((metric.count, metric.sum, metric.mean()), (5, 10.0, 2.0));
    /// }
    /// # ork.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the job does not exist, there is no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn metrics(&self, id: JobId) -> Result<Vec<Metric>, ClientError> {
        let job = self.view(id).await?.job;
        self.engine.metrics.written().await;
        if job.root == id {
            return Ok(self.engine.store.metrics(MetricsOf::Tree(id)).await?);
        }
        if job.tree.descendants == 0 {
            return Ok(self.engine.store.metrics(MetricsOf::Job(id)).await?);
        }
        let below: HashSet<_> = self.tree(id).await?.into_iter().map(|(_, status)| status.id).collect();
        let mut metrics = self.engine.store.metrics(MetricsOf::Tree(job.root)).await?;
        metrics.retain(|metric| below.contains(&metric.job));
        Ok(metrics)
    }
}
