//! [`Parts`]: the outcomes of a job's parts, which are streamed to its join in index order.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesOrdered, Stream, StreamExt};
use serde::de::DeserializeOwned;

use super::error::{Error, Result};
use super::wait::Origin;
use futures_util::future::BoxFuture;
pub use ork_ports::store::SettledPart;

use crate::failure::Failure;
use crate::ledger::{Counts, PartResult};
use crate::output::OutputRef;

/// A source from which the parts of a job are read, a page at a time.
#[async_trait]
pub trait PartSource: Send + Sync + fmt::Debug {
    /// Returns at most `limit` settled parts with index `from` or above, in order. An empty page is the end.
    async fn page(&self, from: u64, limit: usize) -> Result<Vec<SettledPart>>;

    /// Returns the part with its output. If the part has only a reference to a large output, the output is loaded.
    async fn whole(&self, part: SettledPart) -> Result<SettledPart> {
        Ok(part)
    }
}

/// The outcomes of the parts of one job, before their type is known.
#[derive(Debug, Clone)]
pub struct RawParts {
    counts: Counts,
    source: Arc<dyn PartSource>,
    origin: Origin,
}

impl RawParts {
    /// Creates the parts with these counts, to be read from `source`.
    pub fn new(counts: Counts, source: Arc<dyn PartSource>) -> Self {
        Self { counts, source, origin: Origin::here() }
    }
}

impl Default for RawParts {
    fn default() -> Self {
        Self::new(Counts::default(), Arc::new(Fixed(Vec::new())))
    }
}

/// The outcomes of all parts of a job, for its join.
///
/// No outcome is ignored by accident: a join chooses [all outputs](Self::all_ok), the outputs that [are
/// there](Self::ok), the [failures](Self::failed) or [everything](Self::outcomes). All four stream in index order and
/// hold one page in memory, however many parts there are. Of large outputs that are stored as objects, only a few are
/// held.
///
/// ```
/// use ork::Parts;
///
/// fn sum_join(parts: Parts<u64>) -> ork::Result<u64> {
///     parts.all_ok()?.into_iter().sum()
/// }
/// assert_eq!(sum_join(Parts::for_test([Ok(1), Ok(2)])).unwrap(), 3);
/// assert!(sum_join(Parts::for_test([Ok(1), Err("no".into())])).is_err());
/// ```
#[must_use = "a join that ignores its parts also ignores those that failed"]
pub struct Parts<T> {
    raw: RawParts,
    item: PhantomData<fn() -> T>,
}

/// The outcome of one part, for a join.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// The part returned an output.
    Ok {
        /// The index of the part.
        index: u64,
        /// The output of the part.
        output: T,
    },
    /// The part failed.
    Failed {
        /// The index of the part.
        index: u64,
        /// The reason.
        failure: Failure,
    },
    /// The part never started, or was cancelled.
    Skipped {
        /// The index of the part.
        index: u64,
    },
}

impl<T> Parts<T> {
    /// The number of parts that ended in each way.
    pub const fn counts(&self) -> Counts {
        self.raw.counts
    }

    /// The number of parts.
    pub const fn len(&self) -> u64 {
        self.raw.counts.settled()
    }

    /// Whether there are no parts.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: DeserializeOwned + Send + 'static> Parts<T> {
    pub(crate) const fn new(raw: RawParts) -> Self {
        Self { raw, item: PhantomData }
    }

    /// Returns all outputs, or an error if any part has none.
    ///
    /// # Errors
    /// A permanent error with the number of parts that failed or were skipped. Another attempt of the join would find
    /// the same parts.
    pub fn all_ok(self) -> Result<PartStream<T>> {
        let Counts { failed, skipped, cancelled, .. } = self.raw.counts;
        match self.raw.counts.unsuccessful() {
            0 => Ok(self.ok()),
            _ => Err(Error::permanent(format!(
                "of {} parts, {failed} failed and {} did not run",
                self.len(),
                skipped + cancelled
            ))),
        }
    }

    /// Returns the outputs of the parts that succeeded, and skips the others.
    pub fn ok(self) -> PartStream<T> {
        PartStream::new(self.raw, |outcome| match outcome {
            Outcome::Ok { output, .. } => Some(output),
            Outcome::Failed { .. } | Outcome::Skipped { .. } => None,
        })
    }

    /// Returns the index and the failure of each part that failed.
    pub fn failed(self) -> PartStream<(u64, Failure)> {
        PartStream::from_raw(self.raw, |part| Ok(part.failure.map(|failure| (part.index, failure))))
    }

    /// Returns how each part ended.
    pub fn outcomes(self) -> PartStream<Outcome<T>> {
        PartStream::new(self.raw, Some)
    }

    /// Creates parts for a unit test that calls a join as a plain function.
    ///
    /// # Panics
    /// If an output cannot be written as JSON.
    #[expect(clippy::expect_used, reason = "only tests call it")]
    pub fn for_test(parts: impl IntoIterator<Item = Result<T>>) -> Self
    where
        T: serde::Serialize,
    {
        let settled = parts.into_iter().zip(0..).map(|(part, index)| match part {
            Ok(output) => {
                let mut json = Vec::new();
                super::json::write(&output, &mut json, Some(super::json::back::<T>))
                    .expect("an output of a part is JSON");
                SettledPart { index, how: PartResult::Succeeded, output: Some(json.into()), failure: None }
            }
            Err(error) => {
                let failure = super::CallError::Task(error).into_failure();
                SettledPart { index, how: PartResult::Failed, output: None, failure: Some(failure) }
            }
        });
        let settled: Vec<_> = settled.collect();
        let failed = settled.iter().map(|part| u64::from(part.failure.is_some())).sum();
        let ok = settled.iter().map(|part| u64::from(part.failure.is_none())).sum();
        let counts = Counts { succeeded: ok, failed, ..Counts::default() };
        Self::new(RawParts::new(counts, Arc::new(Fixed(settled))))
    }
}

impl<T> fmt::Debug for Parts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parts").field(&self.raw.counts).finish()
    }
}

/// The number of parts in a page.
const PAGE: usize = 512;

type Read<T> = fn(SettledPart) -> Result<Option<T>>;

/// The maximum number of large outputs that are loaded ahead at once, and the maximum of their total bytes.
const AHEAD: (usize, u64) = (8, 32 * 1024 * 1024);

/// Parts in index order that are being loaded. The output of the first one is stored as an object. The parts after it
/// queue up behind it, whether their outputs are large or not, to keep the order.
#[derive(Default)]
struct Ahead {
    parts: FuturesOrdered<BoxFuture<'static, (u64, Result<SettledPart>)>>,
    bytes: u64,
}

impl Ahead {
    /// Takes the first part of the page if its output has to be loaded, or if other parts are queued. Returns its
    /// index.
    fn take(&mut self, source: &Arc<dyn PartSource>, page: &mut VecDeque<SettledPart>) -> Option<u64> {
        let row = page.front()?.output.as_deref().unwrap_or_default();
        if self.parts.is_empty() && !OutputRef::is_ref(row) {
            return None;
        }
        let bytes = OutputRef::read(row).and_then(std::result::Result::ok).map_or(0, |reference| reference.bytes);
        if !self.parts.is_empty() && (self.parts.len() >= AHEAD.0 || self.bytes + bytes > AHEAD.1) {
            return None;
        }
        let (part, source) = (page.pop_front()?, Arc::clone(source));
        let index = part.index;
        self.bytes += bytes;
        self.parts.push_back(Box::pin(async move { (bytes, source.whole(part).await) }));
        Some(index)
    }

    /// Polls the first of the queued parts. Ready with `None` if there are none.
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<Option<Result<SettledPart>>> {
        self.parts.poll_next_unpin(context).map(|next| {
            let (bytes, part) = next?;
            self.bytes -= bytes;
            Some(part)
        })
    }
}

enum Next {
    Page(VecDeque<SettledPart>),
    Loading(BoxFuture<'static, Result<Vec<SettledPart>>>),
    End,
}

/// The rows of the parts in index order, before their outputs are decoded.
struct Rows {
    source: Arc<dyn PartSource>,
    from: u64,
    next: Next,
    /// The queue of outputs being loaded. `None` if the reader needs no outputs.
    ahead: Option<Ahead>,
}

/// A stream over parts, in index order, which reads them a page at a time.
///
/// Async joins use it as a [`Stream`]; [`PartStream::next`] needs no trait in scope. Joins that are plain functions
/// use it as an [`IntoIterator`], which blocks the caller until the next item is there; async joins may use that as
/// well. Each item is a `Result`, because the parts are read from the store on demand.
#[must_use = "a stream of parts reads nothing until it is polled"]
pub struct PartStream<T> {
    rows: Rows,
    origin: Origin,
    read: Box<dyn Fn(SettledPart) -> Result<Option<T>> + Send>,
}

impl<T: 'static> PartStream<T> {
    fn from_raw(raw: RawParts, read: Read<T>) -> Self {
        Self { rows: Rows::new(raw.source, None), origin: raw.origin, read: Box::new(read) }
    }

    fn new<O: DeserializeOwned + 'static>(raw: RawParts, choose: fn(Outcome<O>) -> Option<T>) -> Self {
        let read = move |part| outcome(part).map(choose);
        Self { rows: Rows::new(raw.source, Some(Ahead::default())), origin: raw.origin, read: Box::new(read) }
    }

    /// Returns the next item.
    ///
    /// # Cancel safety
    /// If the future is dropped, no item is lost.
    pub async fn next(&mut self) -> Option<Result<T>> {
        StreamExt::next(self).await
    }

    /// Collects all items in memory.
    ///
    /// # Errors
    /// The first item that could not be read.
    ///
    /// # Cancel safety
    /// If the future is dropped, the items read so far are lost. The parts stay in the store.
    pub async fn collect(mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            all.push(item?);
        }
        Ok(all)
    }
}

impl<T> fmt::Debug for PartStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartStream").field("from", &self.rows.from).finish_non_exhaustive()
    }
}

fn outcome<T: DeserializeOwned>(part: SettledPart) -> Result<Outcome<T>> {
    let index = part.index;
    Ok(match (part.how, part.output, part.failure) {
        (PartResult::Succeeded, Some(output), _) => match serde_json::from_slice(&output) {
            Ok(output) => Outcome::Ok { index, output },
            Err(error) => Err(Error::permanent(format!("the output of part {index} cannot be read: {error}")))?,
        },
        (PartResult::Failed, _, Some(failure)) => Outcome::Failed { index, failure },
        (PartResult::Skipped | PartResult::Cancelled, _, _) => Outcome::Skipped { index },
        (how @ (PartResult::Succeeded | PartResult::Failed), _, _) => {
            Err(Error::permanent(format!("part {index} is {}, but the store has no record of it", how.as_str())))?
        }
    })
}

impl<T> Stream for PartStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(part) = ready!(this.rows.poll_part(context)) else { return Poll::Ready(None) };
            if let Some(item) = this.item(part) {
                return Poll::Ready(Some(item));
            }
        }
    }
}

impl<T> PartStream<T> {
    /// Converts a part to the item that the reader wants, or `None` if the reader skips it. An error ends the stream.
    fn item(&mut self, part: Result<SettledPart>) -> Option<Result<T>> {
        let item = part.and_then(&self.read).transpose();
        if let Some(Err(_)) = item {
            self.rows.end();
        }
        item
    }
}

impl Rows {
    fn new(source: Arc<dyn PartSource>, ahead: Option<Ahead>) -> Self {
        Self { source, from: 0, next: Next::Page(VecDeque::new()), ahead }
    }

    fn end(&mut self) {
        (self.next, self.ahead) = (Next::End, None);
    }

    /// Returns the next part. The future holds no state, so it can be dropped at any time.
    async fn next_part(&mut self) -> Option<Result<SettledPart>> {
        std::future::poll_fn(|context| self.poll_part(context)).await
    }

    /// Polls the next part, with its output if the reader needs outputs.
    fn poll_part(&mut self, context: &mut std::task::Context<'_>) -> Poll<Option<Result<SettledPart>>> {
        loop {
            if let (Some(ahead), Next::Page(page)) = (&mut self.ahead, &mut self.next) {
                while let Some(index) = ahead.take(&self.source, page) {
                    self.from = index + 1;
                }
                if !ahead.parts.is_empty() {
                    return ahead.poll(context);
                }
            }
            match &mut self.next {
                Next::End => return Poll::Ready(None),
                Next::Page(page) => {
                    if let Some(part) = page.pop_front() {
                        self.from = part.index + 1;
                        return Poll::Ready(Some(Ok(part)));
                    }
                    let (source, from) = (Arc::clone(&self.source), self.from);
                    self.next = Next::Loading(Box::pin(async move { source.page(from, PAGE).await }));
                }
                Next::Loading(loading) => match ready!(loading.as_mut().poll(context)) {
                    Ok(page) if page.is_empty() => self.next = Next::End,
                    Ok(page) => self.next = Next::Page(page.into()),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }
}

/// An iterator over parts, for a join that is a plain function.
#[derive(Debug)]
pub struct PartIter<T>(PartStream<T>);

impl<T: 'static> IntoIterator for PartStream<T> {
    type Item = Result<T>;
    type IntoIter = PartIter<T>;

    fn into_iter(self) -> PartIter<T> {
        PartIter(self)
    }
}

impl<T: 'static> Iterator for PartIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let part = self.next_part()?;
            if let Some(item) = self.0.item(part) {
                return Some(item);
            }
        }
    }
}

impl<T> PartIter<T> {
    /// Returns the next part. Blocks until it has been read.
    fn next_part(&mut self) -> Option<Result<SettledPart>> {
        // Most parts are in the page that has been read already, so there is nothing to wait for.
        if let Some(part) = self.0.rows.next_part().now_or_never() {
            return part;
        }
        let ended = Rows { next: Next::End, ..Rows::new(Arc::clone(&self.0.rows.source), None) };
        let mut rows = std::mem::replace(&mut self.0.rows, ended);
        let waited = self.0.origin.wait(async move {
            let part = rows.next_part().await;
            (rows, part)
        });
        match waited {
            Ok((rows, part)) => {
                self.0.rows = rows;
                part
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Parts that are in memory.
#[derive(Debug)]
struct Fixed(Vec<SettledPart>);

#[async_trait]
impl PartSource for Fixed {
    async fn page(&self, from: u64, limit: usize) -> Result<Vec<SettledPart>> {
        Ok(self.0.iter().filter(|part| part.index >= from).take(limit).cloned().collect())
    }
}
