//! The `SQLite` file: it survives restarts, is shared, and is rejected with a clear error if it cannot be used.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use ork::{JobId, WorkerId};
use ork_core::job::Job;
use ork_core::tx::{Actor, NewJob, StoreNotice, Submit};
use ork_ports::store::{Store, StoreErrorKind};
use ork_sqlite::{Sqlite, Synchronous};
use rusqlite::Connection;

use super::world::START;

fn open(path: &Path) -> Result<Sqlite, ork_ports::store::StoreError> {
    Sqlite::open(path, Synchronous::Full)
}

fn on<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// `apply` is defined for `dyn Store`.
fn on_dyn(store: &Sqlite) -> &dyn Store {
    store
}

async fn submit(store: &dyn Store) -> JobId {
    let job = Job::new(JobId::new(), "one", START);
    let id = job.id;
    let by =
        Actor { worker: WorkerId::new("one"), now: START, hold: false, events: ork_core::event::EventRouting::Off };
    drop(store.apply(Submit::new(NewJob { job, input: "{}".into() }, by)).await.unwrap());
    id
}

fn refused(path: &Path, kind: StoreErrorKind, expected: &str) {
    let error = open(path).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn jobs_survive_a_restart() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/ork.db");
        let store = open(&path).unwrap();
        let id = submit(&store).await;
        store.close().await;
        let store = open(&path).unwrap();
        assert!(store.job(id).await.unwrap().is_some());
        store.close().await;
    });
}

/// Regression: of two workers that started at the same time, one took the tables of the other for those of another
/// program.
#[test]
fn many_processes_can_create_the_file_concurrently() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.db");
        let begin = std::sync::Barrier::new(8);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                begin.wait();
                open(&path)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for store in opened {
            on(async { store.unwrap().close().await });
        }
    }
}

#[test]
fn another_process_is_notified_of_new_work() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.db");
        let (one, two) = (open(&path).unwrap(), open(&path).unwrap());
        let mut news = two.notifier().watch();
        submit(&one).await;
        let notice = tokio::time::timeout(Duration::from_secs(30), news.recv()).await.unwrap().unwrap();
        assert_eq!(notice, StoreNotice::OutboxReady);
        one.close().await;
        two.close().await;
        let left = std::fs::read_dir(folder.path().join("ork.db-wake")).unwrap().count();
        assert_eq!(left, 0, "each one removes its files");
    });
}

#[test]
fn a_file_of_a_newer_version_is_rejected() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.db");
        open(&path).unwrap().close().await;
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        refused(
            &path,
            StoreErrorKind::TooNew,
            "has schema version 99, but this program supports only 1: use the newer version of ork",
        );
    });
}

#[test]
fn a_file_of_a_development_version_is_rejected_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ork.db");
    let old = Connection::open(&path).unwrap();
    // The schema version of a development version can be that of this program: the mark of the file differs.
    old.execute_batch("CREATE TABLE counter (next_owed INTEGER NOT NULL) STRICT").unwrap();
    old.pragma_update(None, "application_id", 0x6f72_6b01).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let bytes = std::fs::read(&path).unwrap();
    let message = format!(
        "the store {} was made by a development version of ork before 0.1.0 and cannot be read: move it away, and \
         start again",
        path.display()
    );
    refused(&path, StoreErrorKind::Config, &message);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn the_file_of_another_program_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    refused(&path, StoreErrorKind::Config, "is the database of another program");
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = Connection::open(&path).unwrap().query_row(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_file_that_is_no_database_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ork.db");
    std::fs::write(&path, "not a database at all, but long enough to be looked into by a careful reader").unwrap();
    refused(&path, StoreErrorKind::Corrupt, "is not an SQLite file");
}

#[test]
fn a_damaged_file_is_reported_as_corrupt() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.db");
        let store = open(&path).unwrap();
        for _ in 0..200 {
            submit(&store).await;
        }
        store.close().await;
        // The first page is kept, so that the file can be opened; the rest is overwritten.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4_096..].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let store = match open(&path) {
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
                return;
            }
            Ok(store) => store,
        };
        let error = store.jobs(ork::Filter { limit: 10, ..ork::Filter::default() }).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
        store.close().await;
    });
}

#[test]
fn a_folder_that_cannot_be_created_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    refused(&folder.path().join("file/ork.db"), StoreErrorKind::Config, "the folder");
}

#[test]
fn a_read_only_file_is_rejected() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.db");
        open(&path).unwrap().close().await;
        for path in [&path, folder.path()] {
            let mut permissions = std::fs::metadata(path).unwrap().permissions();
            permissions.set_mode(if path.is_dir() { 0o555 } else { 0o444 });
            std::fs::set_permissions(path, permissions).unwrap();
        }
        // Root can write regardless of the mode; then the file is not rejected.
        let refuses = std::fs::File::create(folder.path().join("probe")).is_err();
        let opened = open(&path);
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        match opened {
            Ok(store) => {
                assert!(!refuses, "opened for writing");
                store.close().await;
            }
            Err(error) => assert!(refuses, "{error}"),
        }
    });
}

#[test]
fn a_locked_file_is_reported_and_works_again_later() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.db");
        let store = open(&path).unwrap();
        let blocker = Connection::open(&path).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let by =
            Actor { worker: WorkerId::new("one"), now: START, hold: false, events: ork_core::event::EventRouting::Off };
        let error = store.leave(by.clone()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("is locked: another program"), "{error}");
        blocker.execute_batch("ROLLBACK").unwrap();
        store.leave(by).await.unwrap();
        store.close().await;
    });
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.db");
        let store = open(&path).unwrap();
        let kept = submit(&store).await;
        store.close().await;
        // The page limit of SQLite simulates a full disk: the error is the same.
        let pages: i64 =
            Connection::open(&path).unwrap().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let store = Sqlite::open_bounded(&path, Synchronous::Full, pages).unwrap();
        let job = Job::new(JobId::new(), "one", START);
        let by =
            Actor { worker: WorkerId::new("one"), now: START, hold: false, events: ork_core::event::EventRouting::Off };
        let large = NewJob { job: job.clone(), input: vec![b'1'; 1_000_000].into() };
        let error = on_dyn(&store).apply(Submit::new(large, by)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert!(store.job(job.id).await.unwrap().is_none());
        assert!(store.job(kept).await.unwrap().is_some());
        store.close().await;
    });
}

/// The claim of one job shares its transaction with a write of another job that fails.
#[test]
fn a_claim_that_is_rolled_back_does_not_lose_its_job() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.db");
        let store = open(&path).unwrap();
        let id = submit(&store).await;
        store.close().await;
        let pages: i64 =
            Connection::open(&path).unwrap().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let store = Sqlite::open_bounded(&path, Synchronous::Full, pages).unwrap();
        let by =
            Actor { worker: WorkerId::new("one"), now: START, hold: false, events: ork_core::event::EventRouting::Off };
        let unknown = NewJob { job: Job::new(id, "one", START), input: "{}".into() };
        let phase = ork_core::job::Phase::Start;
        let claim = ork_core::tx::Claim::new(unknown, phase, 1, by.clone());
        let job = Job::new(JobId::new(), "one", START);
        let large = Submit::new(NewJob { job, input: vec![b'1'; 1_000_000].into() }, by.clone());
        let (claimed, submitted) = tokio::join!(on_dyn(&store).apply(claim), on_dyn(&store).apply(large));
        assert!(matches!(claimed.unwrap().output, ork_core::tx::Claimed::Granted { .. }));
        assert!(submitted.is_err());
        let how = ork_core::job::AttemptOutcome::Succeeded;
        let settle =
            ork_core::tx::Settle { job: id, phase, attempt: 1, outcome: how, output: None, permit: None, actor: by };
        assert!(matches!(on_dyn(&store).apply(settle).await.unwrap().output, ork_core::tx::SettleResult::Applied));
        assert_eq!(store.job(id).await.unwrap().unwrap().job.state, ork::JobState::Succeeded);
        store.close().await;
    });
}
