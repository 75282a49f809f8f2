//! Dynamic splits: a task's function splits its job through the context, and its parts read their data from it.

use std::any::type_name;
use std::pin::Pin;
use std::sync::PoisonError;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CallInfo, Context};
use crate::id::JobId;
use crate::ledger::MOST_PARTS;
use crate::task::{Error, Result, json};

/// Whether one call has split its job so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SplitState {
    /// The call has not split the job.
    #[default]
    Not,
    /// The call has started to split the job and has not completed.
    Started,
    /// The call has made these parts.
    Completed(MadeParts),
    /// Another call of the same attempt has split the job again, so this call no longer counts.
    Superseded,
    /// The call has ended. Code of it that is still running can no longer split the job.
    CallEnded,
}

/// The parts that a call has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MadeParts {
    /// The epoch of the split.
    pub epoch: u32,
    /// The number of parts.
    pub n: u64,
}

/// The reason why a job was not split.
#[derive(Debug)]
pub(crate) enum SplitError {
    /// The job cannot be split. Nothing was started.
    Rejected(Error),
    /// The split was started and did not complete.
    Failed(Error),
    /// See [`SplitState::Superseded`].
    Superseded(Error),
}

/// The data of the parts, in index order.
pub(crate) type Data<'a> = dyn Iterator<Item = serde_json::Result<Bytes>> + Send + 'a;

/// The data of one part, for a job that was split into a number of parts.
#[derive(Serialize)]
struct Numbered {
    part: u64,
    total: u64,
}

impl Context {
    /// Splits this job into `n` parts with the data `{"part": 0, "total": n}`, `{"part": 1, "total": n}`, ...
    ///
    /// Each part is another call of this function with the same input. In that call [`Context::is_part`] returns
    /// `true`, and [`Context::part_data`] returns the data of the part. Parts may start at once, on any worker. The
    /// job continues when this function has returned and every part has ended. If the task has a join, it is called
    /// and returns the output of the job. Otherwise the output is what this function returned, provided that no more
    /// parts failed than the task tolerates.
    ///
    /// The parts are in the store when this method returns. They count once the function has returned without an
    /// error. If the function fails, or its worker dies, the next attempt may split the job again, and the older
    /// parts are stale.
    ///
    /// ```
    /// use ork::{Context, Parts, Result, task};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     part: u64,
    ///     total: u64,
    /// }
    ///
    /// /// Counts the words of a book, a tenth at a time.
    /// #[task]
    /// async fn tenths(book: String, context: Context) -> Result<usize> {
    ///     if !context.is_part() {
    ///         context.report_progress(10.0, "splitting the job");
    ///         context.split(10).await?;
    ///         return Ok(0);
    ///     }
    ///     let Page { part, total } = context.part_data()?;
    ///     Ok(book.lines().zip((0..total).cycle()).filter(|(_, n)| *n == part).flat_map(|(line, _)| line.split(' ')).count())
    /// }
    ///
    /// /// Adds up what the parts returned.
    /// #[task(join)]
    /// fn tenths_join(parts: Parts<usize>) -> Result<usize> {
    ///     parts.all_ok()?.into_iter().sum()
    /// }
    /// # async fn book() -> Result<(), Box<dyn std::error::Error>> {
    /// let ork = ork::builder().store("memory:").build().await?;
    /// ork.spawn_worker();
    /// assert_eq!(ork.submit(tenths { book: "a b\nc\nd e f".into() }).result().await?, 6);
    /// # ork.shutdown().await;
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(book()).unwrap();
    /// ```
    ///
    /// # Errors
    /// The error states the reason. It is permanent unless another try may help. The reasons are:
    /// - this job is a part, or this attempt has split it before;
    /// - its task has a split, or its join is running;
    /// - there is no store, or the store is unavailable;
    /// - there would be more than 2^32 parts;
    /// - the job was cancelled.
    ///
    /// # Cancel safety
    /// If the future is dropped, some of the parts may exist. The attempt then fails when its function returns.
    pub async fn split(&self, n: u64) -> Result<()> {
        if n > MOST_PARTS {
            let message = format!("{n} parts are too many: a job has at most {MOST_PARTS}");
            return Err(Error::permanent(message));
        }
        self.split_into((0..n).map(|part| Numbered { part, total: n })).await
    }

    /// Splits this job into one part for each item. The data of a part is the JSON of its item.
    ///
    /// In all other respects this works like [`Context::split`]. Items are taken a page at a time, as fast as the
    /// store accepts them, so there may be any number of them. They are taken on the thread of the calling task: an
    /// iterator that blocks for a long time delays other tasks.
    ///
    /// ```
    /// use ork::{Context, Result, task};
    ///
    /// /// Mails a letter to everybody, a hundred to a part.
    /// #[task(retries = 3, chunk = 50)]
    /// async fn letters(text: String, to: Vec<String>, context: Context) -> Result<()> {
    ///     if !context.is_part() {
    ///         return context.split_into(to.chunks(100)).await;
    ///     }
    ///     for address in context.part_data::<Vec<String>>()? {
    ///         context.log(format!("{text}, {address}"));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As for [`Context::split`], and if an item cannot be written as JSON or contains a number that JSON does not
    /// have (NaN or an infinity).
    ///
    /// # Cancel safety
    /// As for [`Context::split`].
    pub fn split_into<'a, I>(&'a self, parts: I) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>
    where
        I: IntoIterator<Item: Serialize, IntoIter: Send + 'a>,
    {
        let write = |part| {
            let mut written = Vec::new();
            json::write(&part, &mut written, None).map(|()| Bytes::from(written))
        };
        let mut data = parts.into_iter().map(write);
        // The boxed future hides the type of the iterator. Otherwise the future of a caller whose closures borrow
        // would not be `Send`.
        Box::pin(async move { self.make(&mut data).await })
    }

    /// Whether this call is for a part of a job, in whichever way the job was split.
    ///
    /// ```
    /// assert!(!ork::Context::for_test().is_part());
    /// ```
    pub fn is_part(&self) -> bool {
        self.0.info.index.is_some()
    }

    /// Returns the data of this part, as [`Context::split`] or [`Context::split_into`] wrote it.
    ///
    /// ```
    /// let error = ork::Context::for_test().part_data::<u64>().unwrap_err();
    /// assert!(error.to_string().ends_with("is not a part of a dynamic split, so it has no part data"));
    /// ```
    ///
    /// # Errors
    /// If this call is not for a part of a job that was split dynamically, or if the data is not a `T`. The message
    /// then names the job, the part, the type and the position of the mistake in the data. The error is permanent,
    /// because every attempt gets the same data.
    pub fn part_data<T: DeserializeOwned>(&self) -> Result<T> {
        let CallInfo { job, index, data, .. } = &self.0.info;
        let Some((index, data)) = index.zip(data.as_ref()) else {
            let message = format!("job {job} is not a part of a dynamic split, so it has no part data");
            return Err(Error::permanent(message));
        };
        let mut json = serde_json::Deserializer::from_slice(data);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let place = match error.path().to_string() {
                path if path == "." => String::new(),
                path => format!("`{path}`: "),
            };
            let (kind, inner) = (type_name::<T>(), error.inner());
            Error::permanent(format!("the data of part {index} of job {job} is not a valid `{kind}`: {place}{inner}"))
        })
    }

    /// The id of the job above this one: for a part, the job that it belongs to; for a child, the job that submitted
    /// it.
    ///
    /// ```
    /// assert_eq!(ork::Context::for_test().parent_id(), None);
    /// ```
    pub fn parent_id(&self) -> Option<JobId> {
        if self.is_part() { Some(self.job_id()) } else { self.0.info.parent }
    }

    async fn make(&self, data: &mut Data<'_>) -> Result<()> {
        self.begin()?;
        let split = self.0.services.split(&self.0.info, data).await;
        let (now, answer) = match split {
            Ok(made) => (SplitState::Completed(made), Ok(())),
            Err(SplitError::Rejected(error)) => (SplitState::Not, Err(error)),
            Err(SplitError::Failed(error)) => (SplitState::Started, Err(error)),
            Err(SplitError::Superseded(error)) => (SplitState::Superseded, Err(error)),
        };
        let mut split = self.0.split.lock().unwrap_or_else(PoisonError::into_inner);
        if *split == SplitState::Started {
            *split = now;
        }
        answer
    }

    fn begin(&self) -> Result<()> {
        let (mut split, job) = (self.0.split.lock().unwrap_or_else(PoisonError::into_inner), self.job_id());
        let message = match *split {
            SplitState::Not => {
                *split = SplitState::Started;
                return Ok(());
            }
            SplitState::Started | SplitState::Completed(_) | SplitState::Superseded => {
                format!("job {job} was already split: an attempt can split its job only once")
            }
            SplitState::CallEnded => format!("this attempt at job {job} has ended and can no longer split it"),
        };
        Err(Error::permanent(message))
    }

    /// Marks the call as ended. Returns whether it has split its job.
    pub(crate) fn end_split(&self) -> SplitState {
        std::mem::replace(&mut *self.0.split.lock().unwrap_or_else(PoisonError::into_inner), SplitState::CallEnded)
    }
}
