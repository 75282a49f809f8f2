//! Notifications between the processes that share a file: each process writes to its own two files in a folder that
//! all of them watch.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use uuid::Uuid;

use crate::folder_watch::FolderWatch;
use ork_core::tx::StoreNotice;
use ork_ports::store::{Notifier, StoreError, StoreErrorKind};

/// The minimum time between two notices of one kind, so that a busy process does not keep the others busy.
const PAUSE: Duration = Duration::from_millis(10);

/// Files that have not changed for this long belong to processes that ended without removing them.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// The receiving side: listens for changes by other processes until it is dropped.
#[derive(Debug)]
pub(crate) struct Wake {
    _watch: FolderWatch,
    own: [PathBuf; 2],
}

/// The sending side: notifies the other processes that share the file.
#[derive(Debug)]
pub(crate) struct Bell {
    outbox: File,
    news: File,
    /// Each notification writes a different number, so that polling processes see a change.
    rings: AtomicU64,
}

impl Wake {
    /// Starts to listen for changes of the store at `path`, and creates the bell of this process.
    pub(crate) fn new(path: &Path, notifier: Notifier) -> Result<(Self, Bell), StoreError> {
        let mut folder = path.as_os_str().to_owned();
        folder.push("-wake");
        let folder = PathBuf::from(folder);
        let wrong = |error: io::Error| {
            use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
            if let ReadOnlyFilesystem | PermissionDenied = error.kind() {
                let message = format!("the store {} cannot be written: its folder is read-only", path.display());
                return StoreError::new(StoreErrorKind::ReadOnly, message).with_source(error);
            }
            let message = format!("the folder {} beside the store cannot be watched", folder.display());
            StoreError::new(StoreErrorKind::Unavailable, message).with_source(error)
        };
        std::fs::create_dir_all(&folder).map_err(wrong)?;
        remove_forgotten(&folder);
        let boot = Uuid::new_v4().simple();
        let own = [folder.join(format!("{boot}.outbox")), folder.join(format!("{boot}.news"))];
        let [outbox, news] = &own;
        let make = |path: &Path| File::create(path).map_err(wrong);
        let bell = Bell { outbox: make(outbox)?, news: make(news)?, rings: AtomicU64::new(0) };

        let (sender, receiver) = mpsc::channel();
        let mine = boot.to_string();
        let changed = move |name: &OsStr| {
            let name = Path::new(name);
            if name.file_stem().is_some_and(|stem| stem != mine.as_str()) {
                let is_outbox = name.extension().is_some_and(|kind| kind == "outbox");
                let notice = if is_outbox { StoreNotice::OutboxReady } else { StoreNotice::ChangedElsewhere };
                // Without a receiver, the store is being closed.
                let _closing = sender.send(notice);
            }
        };
        let watch = FolderWatch::open(&folder, changed).map_err(wrong)?;
        let relay = std::thread::Builder::new().name("ork-wake".into()).spawn(move || relay(&receiver, &notifier));
        relay.map_err(wrong)?;
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
    pub(crate) fn ring(&self, notices: &[StoreNotice]) {
        let number = self.rings.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let write = |file: &File| -> io::Result<()> { write_at_start(file, &number) };
        // If the write fails, other processes notice the change at their next heartbeat; nothing is lost.
        if notices.contains(&StoreNotice::OutboxReady) {
            drop(write(&self.outbox));
        }
        if notices.iter().any(|change| !matches!(change, StoreNotice::OutboxReady | StoreNotice::Event(_))) {
            drop(write(&self.news));
        }
    }
}

#[cfg(unix)]
fn write_at_start(file: &File, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, 0)
}

#[cfg(windows)]
fn write_at_start(file: &File, bytes: &[u8]) -> io::Result<()> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, 0).map(drop)
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
