//! The cases that every object store must pass, including whole jobs whose outputs are stored there.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use ork::{Parts, Result, task};
use ork_core::clock::Clock as _;
use ork_ports::objects::{ObjectErrorKind, Objects as _};
use ork_runtime::clock::system::SystemClock;
use ork_runtime::objects::bucket::Bucket;

/// A time limit for each case. It is reached only if something hangs.
const DEADLINE: Duration = Duration::from_mins(2);

/// Runs a case on a new Tokio runtime.
pub(crate) fn on<F: Future>(case: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, case).await.expect("it hangs") })
}

/// Runs every case, one after the other, in one object store, which must be empty.
pub(crate) async fn all(url: &str) {
    let place = Bucket::open(url).unwrap();
    assert!(place.check().await.unwrap().contains(url));
    written_objects_are_read_back(&place).await;
    large_objects_are_transferred_in_pieces(&place).await;
    absent_objects_are_reported_as_missing(&place).await;
    prefix_lists_only_its_own_objects(&place).await;
    pruning_a_job_removes_its_objects(url).await;
}

async fn listed(place: &Bucket, word: &str) -> Vec<String> {
    let mut names: Vec<_> = place.list(word).map_ok(|object| object.name).try_collect().await.unwrap();
    names.sort();
    names
}

async fn written_objects_are_read_back(place: &Bucket) {
    for body in ["", "{}", "other words"] {
        // Written twice, as happens when the response to the first write is lost.
        for _ in 0..2 {
            place.put("a/one", Bytes::from(body)).await.unwrap();
        }
        let read = place.get("a/one", body.len().try_into().unwrap()).await.unwrap();
        assert_eq!(read, body);
    }
    place.remove(vec!["a/one".into()]).await.unwrap();
}

async fn large_objects_are_transferred_in_pieces(place: &Bucket) {
    let body: Bytes = (0..20_000_000_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
    place.put("a/large", body.clone()).await.unwrap();
    assert!(place.get("a/large", 20_000_000).await.unwrap() == body);
    place.remove(vec!["a/large".into()]).await.unwrap();
}

async fn absent_objects_are_reported_as_missing(place: &Bucket) {
    for bytes in [7, 70_000_000] {
        let error = place.get("a/none", bytes).await.unwrap_err();
        assert_eq!(error.kind(), ObjectErrorKind::Missing);
        assert!(error.to_string().contains("`a/none`") && error.to_string().contains(place.place()), "{error}");
    }
    place.remove(vec!["a/none".into()]).await.unwrap();
    place.remove(Vec::new()).await.unwrap();
}

async fn prefix_lists_only_its_own_objects(place: &Bucket) {
    // S3 lists 1,000 objects a page, so this is more than one page.
    let names: Vec<_> = (0..1_100).map(|n| format!("a/{}/part-{n:04}", n % 3)).collect();
    let others = ["ab/one".to_owned(), "b/a/one".to_owned()];
    let before = SystemClock.now();
    let puts = stream::iter(names.iter().chain(&others)).map(|name| place.put(name, Bytes::from_static(b"1")));
    puts.buffer_unordered(32).try_collect::<Vec<_>>().await.unwrap();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(listed(place, "a").await, sorted);
    let written = place.list("b").map_ok(|object| object.written).try_collect::<Vec<_>>().await.unwrap();
    // A store may record the time in whole seconds only.
    let near = (before + Duration::from_mins(1)).as_millis() - 61_000
        ..(SystemClock.now() + Duration::from_mins(1)).as_millis();
    assert!(written.len() == 1 && near.contains(&written[0].as_millis()), "{written:?}, {near:?}");
    place.remove(names).await.unwrap();
    assert_eq!(listed(place, "a").await, Vec::<String>::new());
    assert_eq!([listed(place, "ab").await, listed(place, "b").await].concat(), others);
    place.remove(others.into()).await.unwrap();
}

#[task]
fn long(number: usize) -> String {
    "x".repeat(1_000 + number)
}

#[task(part)]
fn long_part(count: usize) -> impl Iterator<Item = long> {
    (0..count).map(|number| long { number })
}

#[task(join)]
fn long_join(parts: Parts<String>) -> Result<usize> {
    parts.all_ok()?.into_iter().map(|part| part.map(|text| text.len())).sum()
}

async fn pruning_a_job_removes_its_objects(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = ork::Config::from(Some(Path::new("/dev/null")), []).unwrap();
    let clock = std::sync::Arc::new(Later(SystemClock));
    let builder = ork::builder().config(config).store(format!("sqlite:{}", folder.path().join("ork.db").display()));
    let builder = builder.set("large_outputs", url).set("large_output_bytes", "1000").clock(clock);
    let ork = builder.build().await.unwrap();
    ork.spawn_worker();
    assert_eq!(ork.submit(long_part { count: 30 }).result().await.unwrap(), 30_435);
    let place = Bucket::open(url).unwrap();
    assert_eq!(listed(&place, "").await.len(), 30);
    assert_eq!(ork.prune(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(listed(&place, "").await.len(), 0);
    ork.shutdown().await;
}

/// The system's clock, three hours ahead, so that objects which were just written do not count as recent.
#[derive(Debug)]
struct Later(SystemClock);

impl ork::Clock for Later {
    fn now(&self) -> ork::Timestamp {
        self.0.now() + Duration::from_hours(3)
    }

    fn pause(&self, duration: Duration) -> ork_core::clock::Pause {
        self.0.pause(duration)
    }
}
