//! Notifications between the processes that share a file: each process writes to its own two files in a folder that
//! all of them watch.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use notify::{EventHandler, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher as _};
use uuid::Uuid;

use ork_core::tx::StoreNotice;
use ork_ports::store::{Notifier, StoreError, StoreErrorKind};

/// The minimum time between two notices of one kind, so that a busy process does not keep the others busy.
const PAUSE: Duration = Duration::from_millis(10);

/// The polling interval if the operating system cannot report changes.
const LOOK: Duration = Duration::from_millis(500);

/// Files that have not changed for this long belong to processes that ended without removing them.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// The receiving side: listens for changes by other processes until it is dropped.
#[derive(Debug)]
pub(crate) struct Wake {
    _watch: FolderWatch,
    own: [PathBuf; 2],
}

/// The mechanism that notifies a process of changed files.
#[derive(Debug)]
enum FolderWatch {
    /// The operating system reports changes.
    Native { _watcher: RecommendedWatcher },
    /// The operating system allows no further watch (`fs.inotify.max_user_instances`): the folder is polled.
    Polling { _watcher: PollWatcher },
}

impl FolderWatch {
    fn open<H: EventHandler>(folder: &Path, handler: impl Fn() -> H) -> notify::Result<Self> {
        let native = || {
            let mut watcher = notify::recommended_watcher(handler())?;
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(Self::Native { _watcher: watcher })
        };
        native().or_else(|error: notify::Error| {
            tracing::warn!(%error, "the system does not report file changes, polling every half a second");
            let mut watcher = PollWatcher::new(handler(), poll_config(LOOK))?;
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(Self::Polling { _watcher: watcher })
        })
    }
}

/// The sending side: notifies the other processes that share the file.
#[derive(Debug)]
pub(crate) struct Bell {
    to_send: File,
    news: File,
    /// Each notification writes a different number, so that polling processes see a change.
    rings: AtomicU64,
}

/// Compares the contents of the files, as their modification times have a resolution of seconds.
fn poll_config(every: Duration) -> notify::Config {
    notify::Config::default().with_poll_interval(every).with_compare_contents(true)
}

impl Wake {
    /// Starts to listen for changes of the store at `path`, and creates the bell of this process.
    pub(crate) fn new(path: &Path, notifier: Notifier) -> Result<(Self, Bell), StoreError> {
        let mut folder = path.as_os_str().to_owned();
        folder.push("-wake");
        let folder = PathBuf::from(folder);
        let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
            use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
            let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
            if let Some(ReadOnlyFilesystem | PermissionDenied) = io {
                let message = format!("the store {} cannot be written: its folder is read-only", path.display());
                return StoreError::new(StoreErrorKind::ReadOnly, message).with_source(error);
            }
            let message = format!("the folder {} beside the store cannot be watched", folder.display());
            StoreError::new(StoreErrorKind::Unavailable, message).with_source(error)
        };
        std::fs::create_dir_all(&folder).map_err(|error| wrong(error.into()))?;
        remove_forgotten(&folder);
        let boot = Uuid::new_v4().simple();
        let own = [folder.join(format!("{boot}.outbox")), folder.join(format!("{boot}.news"))];
        let [to_send, news] = &own;
        let make = |path: &Path| File::create(path).map_err(|error| wrong(error.into()));
        let bell = Bell { to_send: make(to_send)?, news: make(news)?, rings: AtomicU64::new(0) };

        let (sender, receiver) = mpsc::channel();
        let mine = boot.to_string();
        let handler = || {
            let (sender, mine) = (sender.clone(), mine.clone());
            move |event: notify::Result<notify::Event>| {
                let Ok(event) = event else { return };
                if !event.kind.is_modify() {
                    return;
                }
                for path in event.paths {
                    if path.file_stem().is_some_and(|stem| stem != mine.as_str()) {
                        let to_send = path.extension().is_some_and(|kind| kind == "outbox");
                        // Without a receiver, the store is being closed.
                        let _closing =
                            sender.send(if to_send { StoreNotice::OutboxReady } else { StoreNotice::ChangedElsewhere });
                    }
                }
            }
        };
        let watch = FolderWatch::open(&folder, handler).map_err(|error| wrong(error.into()))?;
        drop(sender);
        let relay = std::thread::Builder::new().name("ork-wake".into()).spawn(move || relay(&receiver, &notifier));
        relay.map_err(|error| wrong(error.into()))?;
        Ok((Self { _watch: watch, own }, bell))
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // A file that cannot be removed now is removed by another process a day later.
        self.own.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

/// Forwards notices at a limited rate: the first one immediately, and always the last one.
fn relay(news: &mpsc::Receiver<StoreNotice>, notifier: &Notifier) {
    while let Ok(first) = news.recv() {
        let other = news.try_iter().find(|change| *change != first);
        for change in [first].into_iter().chain(other) {
            notifier.notify(change);
        }
        std::thread::sleep(PAUSE);
        let mut waiting: Vec<_> = news.try_iter().collect();
        waiting.sort_unstable_by_key(|change| *change == StoreNotice::OutboxReady);
        waiting.dedup();
        for change in waiting {
            notifier.notify(change);
        }
    }
}

impl Bell {
    /// Notifies the other processes of these changes.
    pub(crate) fn ring(&self, notifier: &[StoreNotice]) {
        let number = self.rings.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let rung = |file: &File| -> io::Result<()> { file.write_all_at(&number, 0) };
        // If the write fails, other processes notice the change at their next heartbeat; nothing is lost.
        if notifier.contains(&StoreNotice::OutboxReady) {
            drop(rung(&self.to_send));
        }
        if notifier.iter().any(|change| !matches!(change, StoreNotice::OutboxReady | StoreNotice::Event(_))) {
            drop(rung(&self.news));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "file times come from the system, not from the clock")]
fn remove_forgotten(folder: &Path) {
    let now = std::time::SystemTime::now();
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let touched = file.metadata().and_then(|metadata| metadata.modified());
        if touched.is_ok_and(|touched| now.duration_since(touched).is_ok_and(|age| age > FORGOTTEN)) {
            drop(std::fs::remove_file(file.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers polling, which is used if the operating system allows no further watch.
    #[test]
    fn polling_notices_each_ring() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| File::create(folder.path().join(name)).unwrap();
        let bell = Bell { to_send: make("other.outbox"), news: make("other.news"), rings: AtomicU64::new(0) };
        let (sender, receiver) = mpsc::channel();
        let handler = move |event: notify::Result<notify::Event>| drop(sender.send(event));
        let mut watcher = PollWatcher::new(handler, poll_config(PAUSE)).unwrap();
        watcher.watch(folder.path(), RecursiveMode::NonRecursive).unwrap();
        for _ in 0..3 {
            bell.ring(&[StoreNotice::OutboxReady]);
            let event = receiver.recv_timeout(Duration::from_mins(1)).unwrap().unwrap();
            assert!(event.kind.is_modify(), "{event:?}");
            assert!(event.paths[0].ends_with("other.outbox"));
        }
    }
}
