//! The unique key of a submission, and what happens if another job holds it.

use std::sync::Arc;
use std::time::Duration;

use super::{Client, ClientError};
use crate::engine::submit;
use crate::job::UniqueKey;

/// A unique key for [`Submission::unique`](crate::client::Submission::unique): one job at a time can hold it.
///
/// A text is a key whose submission fails while another job holds it. The methods change that.
///
/// ```
/// use std::time::Duration;
///
/// use ork::Unique;
///
/// # #[ork::task] fn import(file: String) {}
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ork = ork::builder().store("memory:").build().await?;
/// let import = || import { file: "sales.csv".into() };
/// let first = ork.submit(import()).unique("sales").await?;
/// assert!(ork.submit(import()).unique("sales").await.is_err());
/// let same = ork.submit(import()).unique(Unique::new("sales").or_existing()).await?;
/// assert_eq!(same.id(), first.id());
/// let waits = Unique::new("sales").stale_after(Duration::from_secs(600));
/// assert!(ork.submit(import()).unique(waits).await.is_err());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Unique {
    /// The key; `None` for the key that the options of the task give.
    key: Option<Arc<str>>,
    stale_after: Option<Duration>,
    pub(super) joins: bool,
}

impl Unique {
    /// A key of 1 to 512 bytes.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self { key: Some(key.into()), stale_after: None, joins: false }
    }

    /// The key that the option `unique` of the task gives. The submission fails if the task has no such option.
    pub const fn of_task() -> Self {
        Self { key: None, stale_after: None, joins: false }
    }

    /// Takes over the key if the job that holds it has been inactive for this long: that job is cancelled with all
    /// jobs below it, and then the new one is submitted.
    ///
    /// A job is active when it acquires its key, when it starts, and every few seconds while a process works on it or
    /// on a job below it, so a value below 15 s counts as 15 s. A job that waits is not active, whether it waits in a
    /// queue, for a retry, or for another job: choose a value longer than a job may have to wait.
    pub const fn stale_after(mut self, stale_after: Duration) -> Self {
        self.stale_after = Some(stale_after);
        self
    }

    /// Joins the job that holds the key, if there is one, instead of failing: the handle, or the result, is that of
    /// the other job.
    pub const fn or_existing(mut self) -> Self {
        self.joins = true;
        self
    }

    /// Returns the key for a job of this task.
    pub(super) fn resolve(self, client: &Client, task: &str) -> Result<UniqueKey, ClientError> {
        let key = match self.key {
            Some(key) => key,
            None => match submit::unique_of(&client.engine, task) {
                Some(unique) => unique.key,
                None => {
                    return Err(ClientError::Rejected(format!(
                        "the task `{task}` has no option `unique`: set it, or name the key, as in `Unique::new(\"..\")`"
                    )));
                }
            },
        };
        Ok(UniqueKey { key, stale_after: self.stale_after })
    }
}

impl<K: Into<Arc<str>>> From<K> for Unique {
    fn from(key: K) -> Self {
        Self::new(key)
    }
}
