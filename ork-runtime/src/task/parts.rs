//! `Parts<T>`: the outcomes of a job's parts, streamed to its join in index order.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesOrdered, Stream, StreamExt};
use serde::de::DeserializeOwned;

use super::def::BoxFuture;
use super::error::{Error, Result};
use super::wait::Home;
use crate::failure::Failure;
use crate::ledger::{Counts, PartResult};
use crate::output::OutputRef;

/// One settled part, as a store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledPart {
    /// Which one.
    pub index: u64,
    /// How it ended.
    pub how: PartResult,
    /// The output of one that ended `ok`, or in its place a [note](crate::output::OutputRef) about where it is.
    pub output: Option<Bytes>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Where the parts are read from, a page at a time.
#[async_trait]
pub trait PartSource: Send + Sync + fmt::Debug {
    /// At most `limit` settled parts from index `from` on, in order; an empty page is the end.
    async fn page(&self, from: u64, limit: usize) -> Result<Vec<SettledPart>>;

    /// The same part with its output, where a note says that it is elsewhere.
    async fn whole(&self, part: SettledPart) -> Result<SettledPart> {
        Ok(part)
    }
}

/// The outcomes of one job's parts before anybody says what type they have.
#[derive(Debug, Clone)]
pub struct RawParts {
    counts: Counts,
    source: Arc<dyn PartSource>,
    home: Home,
}

impl RawParts {
    /// Parts that ended like this, to be read from `source`.
    pub fn new(counts: Counts, source: Arc<dyn PartSource>) -> Self {
        Self { counts, source, home: Home::here() }
    }
}

impl Default for RawParts {
    fn default() -> Self {
        Self::new(Counts::default(), Arc::new(Fixed(Vec::new())))
    }
}

/// The outcomes of every part of a job, for its join.
///
/// Nothing is ignored by accident: a join says whether it wants [all outputs](Self::all_ok), those that
/// [are there](Self::ok), the [failures](Self::failed) or [everything](Self::outcomes). All four stream in index order
/// and hold one page in memory, however many parts there are; of outputs that are kept elsewhere, a few.
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
pub struct Parts<T> {
    raw: RawParts,
    item: PhantomData<fn() -> T>,
}

/// How one part ended, for a join.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// It returned this.
    Ok {
        /// Which part.
        index: u64,
        /// Its output.
        output: T,
    },
    /// It failed.
    Failed {
        /// Which part.
        index: u64,
        /// Why.
        failure: Failure,
    },
    /// It never started, or was cancelled.
    Skipped {
        /// Which part.
        index: u64,
    },
}

impl<T> Parts<T> {
    /// How many parts ended in each way.
    pub const fn counts(&self) -> Counts {
        self.raw.counts
    }

    /// How many parts there are.
    pub const fn len(&self) -> u64 {
        self.raw.counts.settled()
    }

    /// Whether there are no parts at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: DeserializeOwned + Send + 'static> Parts<T> {
    pub(crate) const fn new(raw: RawParts) -> Self {
        Self { raw, item: PhantomData }
    }

    /// Every output, or an error if any part has none.
    ///
    /// # Errors
    /// A permanent error that says how many parts failed or were skipped: to join again would meet them again.
    pub fn all_ok(self) -> Result<PartStream<T>> {
        let Counts { failed, skipped, cancelled, .. } = self.raw.counts;
        match self.raw.counts.unsuccessful() {
            0 => Ok(self.ok()),
            _ => Err(Error::permanent(format!(
                "of {} parts {failed} failed and {} did not run",
                self.len(),
                skipped + cancelled
            ))),
        }
    }

    /// The outputs that are there; parts that failed are passed over.
    pub fn ok(self) -> PartStream<T> {
        PartStream::new(self.raw, |outcome| match outcome {
            Outcome::Ok { output, .. } => Some(output),
            Outcome::Failed { .. } | Outcome::Skipped { .. } => None,
        })
    }

    /// The failures: index and reason.
    pub fn failed(self) -> PartStream<(u64, Failure)> {
        PartStream::from_raw(self.raw, |part| Ok(part.failure.map(|failure| (part.index, failure))))
    }

    /// How every part ended.
    pub fn outcomes(self) -> PartStream<Outcome<T>> {
        PartStream::new(self.raw, Some)
    }

    /// Parts for a unit test that calls a join as a plain function.
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
        let counts = Counts { ok, failed, ..Counts::default() };
        Self::new(RawParts::new(counts, Arc::new(Fixed(settled))))
    }
}

impl<T> fmt::Debug for Parts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parts").field(&self.raw.counts).finish()
    }
}

/// How many parts one page holds.
const PAGE: usize = 512;

type Read<T> = fn(SettledPart) -> Result<Option<T>>;

/// How many outputs that are elsewhere are on their way at once, and how many bytes of them.
const AHEAD: (usize, u64) = (8, 32 * 1024 * 1024);

/// Parts in order of which the first one's output is on its way; those after it wait for it, at hand or not.
#[derive(Default)]
struct Ahead {
    parts: FuturesOrdered<BoxFuture<(u64, Result<SettledPart>)>>,
    bytes: u64,
}

impl Ahead {
    /// Takes a part in if its output is elsewhere, or others are waited for.
    fn take(&mut self, source: &Arc<dyn PartSource>, page: &mut VecDeque<SettledPart>) -> Option<u64> {
        let row = page.front()?.output.as_deref().unwrap_or_default();
        if self.parts.is_empty() && !OutputRef::is_ref(row) {
            return None;
        }
        let bytes = OutputRef::read(row).and_then(std::result::Result::ok).map_or(0, |note| note.bytes);
        if !self.parts.is_empty() && (self.parts.len() >= AHEAD.0 || self.bytes + bytes > AHEAD.1) {
            return None;
        }
        let (part, source) = (page.pop_front()?, Arc::clone(source));
        let index = part.index;
        self.bytes += bytes;
        self.parts.push_back(Box::pin(async move { (bytes, source.whole(part).await) }));
        Some(index)
    }

    /// The first of them; `None` if there are none.
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
    Loading(BoxFuture<Result<Vec<SettledPart>>>),
    End,
}

/// The rows of parts in index order, before anything is read of their outputs.
struct Rows {
    source: Arc<dyn PartSource>,
    from: u64,
    next: Next,
    /// Absent where outputs are not asked for.
    ahead: Option<Ahead>,
}

/// A stream over parts, in index order, a page at a time.
///
/// It is a [`Stream`] for async joins ([`PartStream::next`] needs no trait in scope) and an [`IntoIterator`], which
/// waits where it is asked for the next item: meant for joins that are plain functions, and allowed in async ones. Each
/// item is a `Result`, since the parts are read from the store as they are asked for.
pub struct PartStream<T> {
    rows: Rows,
    home: Home,
    read: Box<dyn Fn(SettledPart) -> Result<Option<T>> + Send>,
}

impl<T: 'static> PartStream<T> {
    fn from_raw(raw: RawParts, read: Read<T>) -> Self {
        Self { rows: Rows::new(raw.source, None), home: raw.home, read: Box::new(read) }
    }

    fn new<O: DeserializeOwned + 'static>(raw: RawParts, choose: fn(Outcome<O>) -> Option<T>) -> Self {
        let read = move |part| outcome(part).map(choose);
        Self { rows: Rows::new(raw.source, Some(Ahead::default())), home: raw.home, read: Box::new(read) }
    }

    /// The next item.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<T>> {
        StreamExt::next(self).await
    }

    /// Every item, in memory at once.
    ///
    /// # Errors
    /// The first item that could not be read.
    ///
    /// # Cancel safety
    /// What was read is lost if the future is dropped; the parts stay in the store.
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
            Err(Error::permanent(format!("part {index} is {} and the store has no record of it", how.as_str())))?
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
    /// What a part comes to for the reader, if it comes to anything. After an error there are no more parts.
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

    /// The next part, by a future that keeps nothing.
    async fn next_part(&mut self) -> Option<Result<SettledPart>> {
        std::future::poll_fn(|context| self.poll_part(context)).await
    }

    /// The next part, with its output if that is asked for.
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

/// Iterates over parts in a join that is a plain function.
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
    /// The next part, however long it has to be waited for.
    fn next_part(&mut self) -> Option<Result<SettledPart>> {
        // Most parts are at hand: they are in the page that was read.
        if let Some(part) = self.0.rows.next_part().now_or_never() {
            return part;
        }
        let ended = Rows { next: Next::End, ..Rows::new(Arc::clone(&self.0.rows.source), None) };
        let mut rows = std::mem::replace(&mut self.0.rows, ended);
        let waited = self.0.home.wait(async move {
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

/// Parts that are in memory already.
#[derive(Debug)]
struct Fixed(Vec<SettledPart>);

#[async_trait]
impl PartSource for Fixed {
    async fn page(&self, from: u64, limit: usize) -> Result<Vec<SettledPart>> {
        Ok(self.0.iter().filter(|part| part.index >= from).take(limit).cloned().collect())
    }
}
