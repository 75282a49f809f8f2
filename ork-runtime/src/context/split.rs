//! A task that splits itself: what its function asks of its context, and what one of its parts is told.

use std::any::type_name;
use std::pin::Pin;
use std::sync::PoisonError;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{About, Context};
use crate::id::JobId;
use crate::ledger::MOST_PARTS;
use crate::task::{Error, Result, json};

/// What one call has made of its job so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Split {
    /// It has not split it.
    #[default]
    Not,
    /// It has begun to, and did not come to an end.
    Begun,
    /// These are the parts.
    Made(Made),
    /// Another call of the same attempt has split the job anew, so that this one does not count.
    Overtaken,
    /// The call has ended, and nothing that still runs of it can split the job.
    Over,
}

/// The parts that a call has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    /// The run of the split.
    pub epoch: u32,
    /// How many.
    pub n: u64,
}

/// Why a job was not split.
#[derive(Debug)]
pub(crate) enum NoSplit {
    /// It cannot be: nothing was begun.
    Refused(Error),
    /// It did not come to an end.
    Broken(Error),
    /// As [`Split::Overtaken`].
    Overtaken(Error),
}

/// The data of the parts, one after the other.
pub(crate) type Data<'a> = dyn Iterator<Item = serde_json::Result<Bytes>> + Send + 'a;

/// The data of one part of a job that was split into a number of them.
#[derive(Serialize)]
struct Numbered {
    part: u64,
    total: u64,
}

impl Context {
    /// Splits this job into `n` parts, whose data are `{"part": 0, "total": n}` and so on.
    ///
    /// Each part is a call of this very function with the same input, in which [`Context::is_part`] is true and
    /// [`Context::part_data`] says which part it is. Parts may begin at once, on any worker. The job goes on when this
    /// function has returned and every part has ended: with the join of the task, if it has one, which returns the job's
    /// output; otherwise what this function returns is the output, if no more parts failed than the task tolerates.
    ///
    /// When this returns the parts are safe in the store. They count once the function has returned without an error: if
    /// it fails, or dies with its worker, its next attempt may split the job once more, and older parts count no more.
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
    ///         context.progress(10.0, "splitting the job");
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
    /// let ork = ork::Ork::builder().store("memory:").build().await?;
    /// ork.start_worker();
    /// assert_eq!(ork.submit(tenths { book: "a b\nc\nd e f".into() }).and_wait().await?, 6);
    /// # ork.shutdown().await;
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(book()).unwrap();
    /// ```
    ///
    /// # Errors
    /// Each says why, and is permanent unless trying again may help. When this job is a part, or was split in this attempt
    /// before; when its task has a split, or its join runs; when there is no store; when there would be more than 2^32
    /// parts; when the job was cancelled; when the store does not work.
    ///
    /// # Cancel safety
    /// If the future is dropped there may be some of the parts. Then this attempt fails when its function returns.
    pub async fn split(&self, n: u64) -> Result<()> {
        if n > MOST_PARTS {
            let words = format!("{n} parts are more than {MOST_PARTS}, and no job may have more");
            return Err(Error::permanent(words));
        }
        self.split_into((0..n).map(|part| Numbered { part, total: n })).await
    }

    /// Splits this job into one part for each item, whose JSON is the part's data.
    ///
    /// Otherwise it does what [`Context::split`] does. The items are taken page by page, as the store takes them, so
    /// that there may be any number. They are taken by the task's own thread: an iterator that blocks for long holds up
    /// others.
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
    /// As [`Context::split`]; and when an item cannot be written as JSON, or has a number that JSON does not have (NaN, an
    /// infinity).
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
        // The future does not name the iterator: in that of its caller, closures over what is borrowed would not be `Send`.
        Box::pin(async move { self.make(&mut data).await })
    }

    /// Whether this call is for a part of a job, whichever way the job was split.
    ///
    /// ```
    /// assert!(!ork::Context::for_test().is_part());
    /// ```
    pub fn is_part(&self) -> bool {
        self.0.about.index.is_some()
    }

    /// The data of this part, as [`Context::split`] or [`Context::split_into`] wrote them.
    ///
    /// ```
    /// let error = ork::Context::for_test().part_data::<u64>().unwrap_err();
    /// assert!(error.to_string().ends_with("is no part of a job that has split itself, so it has no data of a part"));
    /// ```
    ///
    /// # Errors
    /// When this is no part of a job that has split itself, or its data are no `T`: with the job, the part, the type and
    /// the place in the data that is wrong. They are permanent: the same data come with every attempt.
    pub fn part_data<T: DeserializeOwned>(&self) -> Result<T> {
        let About { job, index, data, .. } = &self.0.about;
        let Some((index, data)) = index.zip(data.as_ref()) else {
            let words = format!("job {job} is no part of a job that has split itself, so it has no data of a part");
            return Err(Error::permanent(words));
        };
        let mut json = serde_json::Deserializer::from_slice(data);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let place = match error.path().to_string() {
                path if path == "." => String::new(),
                path => format!("`{path}`: "),
            };
            let (kind, inner) = (type_name::<T>(), error.inner());
            Error::permanent(format!("the data of part {index} of job {job} are no `{kind}`: {place}{inner}"))
        })
    }

    /// The job above this one: for a part, the job it is a part of; for a child, the job that submitted it.
    ///
    /// ```
    /// assert_eq!(ork::Context::for_test().parent_id(), None);
    /// ```
    pub fn parent_id(&self) -> Option<JobId> {
        if self.is_part() { Some(self.job_id()) } else { self.0.about.parent }
    }

    async fn make(&self, data: &mut Data<'_>) -> Result<()> {
        self.begin()?;
        let split = self.0.services.split(&self.0.about, data).await;
        let (now, answer) = match split {
            Ok(made) => (Split::Made(made), Ok(())),
            Err(NoSplit::Refused(error)) => (Split::Not, Err(error)),
            Err(NoSplit::Broken(error)) => (Split::Begun, Err(error)),
            Err(NoSplit::Overtaken(error)) => (Split::Overtaken, Err(error)),
        };
        let mut split = self.0.split.lock().unwrap_or_else(PoisonError::into_inner);
        if *split == Split::Begun {
            *split = now;
        }
        answer
    }

    fn begin(&self) -> Result<()> {
        let (mut split, job) = (self.0.split.lock().unwrap_or_else(PoisonError::into_inner), self.job_id());
        let words = match *split {
            Split::Not => {
                *split = Split::Begun;
                return Ok(());
            }
            Split::Begun | Split::Made(_) | Split::Overtaken => {
                format!("job {job} was split already, and an attempt splits its job once")
            }
            Split::Over => format!("this attempt at job {job} has ended, so it cannot split it any more"),
        };
        Err(Error::permanent(words))
    }

    /// The call has ended; answers what it has made of its job.
    pub(crate) fn end_split(&self) -> Split {
        std::mem::replace(&mut *self.0.split.lock().unwrap_or_else(PoisonError::into_inner), Split::Over)
    }
}
