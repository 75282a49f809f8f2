//! Pages of the items that a split yields.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::Engine;
use super::invoke::flatten;
use crate::task::CallError;
use crate::task::call::{Call, Items};
use crate::task::def::{Run, TaskDef};

/// The size of the first page: it is small, so that the first parts start soon. Each further page has twice the size,
/// up to the configured one.
pub(super) const FIRST_PAGE: usize = 16;

/// A page that is not full after this time is complete as it is, unless it is empty.
const PAGE_TIME: Duration = Duration::from_millis(50);

/// Calls the split and returns the items that it yields.
pub(super) async fn items(engine: &Engine, def: &TaskDef, call: Call) -> Result<Items, CallError> {
    match def.run {
        Run::AsyncSplit(run) => run(call).await,
        Run::BlockingSplit(run) => flatten(engine.runtime.call_blocking(move || run(call)).await),
        Run::Async(_) | Run::Blocking(_) => Err(CallError::Panicked("a task was called as a split".into())),
    }
}

/// Groups items into pages. At most one page is pulled before it is asked for.
pub(super) fn pages(
    engine: &Arc<Engine>,
    items: Items,
    size: usize,
) -> BoxStream<'static, Result<Vec<Bytes>, CallError>> {
    match items {
        Items::Stream(items) => stream_pages(engine, items, size),
        Items::Iterator(items) => iterator_pages(engine, items, size),
    }
}

/// Groups the items of a stream into pages.
fn stream_pages(
    engine: &Arc<Engine>,
    items: BoxStream<'static, Result<Bytes, CallError>>,
    size: usize,
) -> BoxStream<'static, Result<Vec<Bytes>, CallError>> {
    let state = (Some(items), FIRST_PAGE.min(size), Arc::clone(engine));
    futures_util::stream::unfold(state, move |(items, want, engine)| async move {
        let mut items = items?;
        let mut page = Vec::with_capacity(want);
        let mut full = engine.clock.pause(PAGE_TIME);
        loop {
            let next = tokio::select! {
                biased;
                item = items.next() => item,
                () = &mut full, if !page.is_empty() => {
                    return Some((Ok(page), (Some(items), (want * 2).min(size), engine)));
                }
            };
            match next {
                Some(Ok(item)) => page.push(item),
                Some(Err(error)) => return Some((Err(error), (None, want, engine))),
                None if page.is_empty() => return None,
                None => return Some((Ok(page), (None, want, engine))),
            }
            if page.len() >= want {
                return Some((Ok(page), (Some(items), (want * 2).min(size), engine)));
            }
        }
    })
    .boxed()
}

type IteratorItems = Box<dyn Iterator<Item = Result<Bytes, CallError>> + Send>;
/// A page, and the iterator over the items after it.
type Pulled = Result<(Vec<Bytes>, Option<IteratorItems>), CallError>;

/// Groups the items of an iterator into pages. While the store commits one page, the next one is pulled.
fn iterator_pages(
    engine: &Arc<Engine>,
    items: IteratorItems,
    size: usize,
) -> BoxStream<'static, Result<Vec<Bytes>, CallError>> {
    let want = FIRST_PAGE.min(size);
    let state = Some((pull(engine, items, want), want, Arc::clone(engine)));
    futures_util::stream::unfold(state, move |state| async move {
        let (pulled, want, engine) = state?;
        match pulled.await {
            Err(error) => Some((Err(error), None)),
            Ok((page, None)) => (!page.is_empty()).then_some((Ok(page), None)),
            Ok((page, Some(items))) => {
                let want = (want * 2).min(size);
                Some((Ok(page), Some((pull(&engine, items, want), want, engine))))
            }
        }
    })
    .boxed()
}

/// Starts to pull one page. The iterator may block, so it is pulled on a blocking thread.
fn pull(engine: &Engine, mut items: IteratorItems, want: usize) -> BoxFuture<'static, Pulled> {
    let clock = Arc::clone(&engine.clock);
    let pulled = engine.runtime.call_blocking(move || {
        let (begun, mut page) = (clock.now(), Vec::with_capacity(want));
        while let Some(item) = items.next() {
            page.push(item?);
            if page.len() >= want || clock.now() - begun > PAGE_TIME {
                return Ok((page, Some(items)));
            }
        }
        Ok((page, None))
    });
    Box::pin(async { flatten(pulled.await) })
}

/// Calls a split and collects its items, which must not exceed `most` bytes in total.
pub(super) async fn collect(
    engine: &Arc<Engine>,
    def: &TaskDef,
    call: Call,
    most: usize,
) -> Result<Vec<Bytes>, CallError> {
    let all = async {
        let mut pages = pages(engine, items(engine, def, call).await?, engine.settings.split_page_size);
        let (mut items, mut bytes) = (Vec::new(), 0_usize);
        while let Some(page) = pages.next().await {
            for item in page? {
                bytes += item.len();
                items.push(item);
            }
            if bytes > most {
                let detail = format!(
                    "the inputs of the parts exceed {most} bytes, and without a store all are held in memory: set \
                     ORK_STORE"
                );
                return Err(CallError::Task(crate::task::Error::permanent(detail)));
            }
        }
        Ok(items)
    };
    flatten(futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(all)).await)
}
