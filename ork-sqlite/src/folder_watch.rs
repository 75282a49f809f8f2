//! Reports which files of a folder change: on Linux the system reports them, elsewhere the files are read again and
//! again.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// The polling interval if the operating system cannot report changes.
const INTERVAL: Duration = Duration::from_millis(500);

/// A watch of the files in a folder, until it is dropped.
#[derive(Debug)]
pub(crate) enum FolderWatch {
    /// The operating system reports changes. The watch ends when this end of the pipe is closed.
    #[cfg(target_os = "linux")]
    Native { _open: io::PipeWriter },
    /// The contents of the files are compared. The watch ends when the sender is dropped.
    Polling { _open: mpsc::Sender<()> },
}

impl FolderWatch {
    /// Starts to watch a folder. `changed` is called with the name of each file that was written to.
    pub(crate) fn open(folder: &Path, changed: impl FnMut(&OsStr) + Clone + Send + 'static) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        match native::open(folder, changed.clone()) {
            Ok(open) => return Ok(Self::Native { _open: open }),
            // There are no further watches (`fs.inotify.max_user_instances`), or the file system has none.
            Err(error) => {
                tracing::warn!(%error, "the system does not report file changes, polling every half a second");
            }
        }
        Self::poll(folder.to_owned(), INTERVAL, changed)
    }

    /// Compares the contents of the files, because their modification times may have a resolution of seconds.
    fn poll(folder: PathBuf, interval: Duration, mut changed: impl FnMut(&OsStr) + Send + 'static) -> io::Result<Self> {
        let (open, ended) = mpsc::channel();
        let mut known = contents(&folder);
        spawn(move || {
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let now = contents(&folder);
                let differs = |(name, bytes): &(&OsString, &Vec<u8>)| known.get(*name) != Some(*bytes);
                now.iter().filter(differs).for_each(|(name, _)| changed(name));
                known = now;
            }
        })?;
        Ok(Self::Polling { _open: open })
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("ork-watch".into()).spawn(work).map(drop)
}

fn contents(folder: &Path) -> HashMap<OsString, Vec<u8>> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // A file that cannot be read was removed in the meantime.
    files.filter_map(|file| Some((file.file_name(), std::fs::read(file.path()).ok()?))).collect()
}

#[cfg(target_os = "linux")]
mod native {
    use std::ffi::OsStr;
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use rustix::event::{PollFd, PollFlags};
    use rustix::fs::inotify;
    use rustix::io::Errno;

    /// Watches through inotify until the returned end of the pipe is closed.
    pub(super) fn open(folder: &Path, changed: impl FnMut(&OsStr) + Send + 'static) -> io::Result<io::PipeWriter> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&events, folder, inotify::WatchFlags::MODIFY)?;
        let (ended, open) = io::pipe()?;
        super::spawn(move || {
            if let Err(error) = watch(&events, &ended, changed) {
                tracing::error!(%error, "file changes are no longer reported; other processes are noticed late");
            }
        })?;
        Ok(open)
    }

    fn watch(events: &OwnedFd, ended: &io::PipeReader, mut changed: impl FnMut(&OsStr)) -> rustix::io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        loop {
            let mut ready = [PollFd::new(events, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            let [_, end] = ready;
            if !end.revents().is_empty() {
                return Ok(());
            }
            let mut reader = inotify::Reader::new(events, &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        if let Some(name) = event.file_name() {
                            changed(OsStr::from_bytes(name.to_bytes()));
                        }
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind of watch reports each write, and ends when it is dropped.
    #[test]
    fn each_write_is_reported_until_the_watch_is_dropped() {
        type Changed = Box<dyn FnMut(&OsStr) + Send>;
        let kinds: [fn(&Path, Changed) -> FolderWatch; 2] = [
            |folder, changed| FolderWatch::poll(folder.to_owned(), Duration::from_millis(10), changed).unwrap(),
            #[cfg(target_os = "linux")]
            |folder, changed| FolderWatch::Native { _open: native::open(folder, changed).unwrap() },
        ];
        for open in kinds {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("other"), [0]).unwrap();
            let (sender, receiver) = mpsc::channel();
            let watch = open(folder.path(), Box::new(move |name| drop(sender.send(name.to_owned()))));
            for written in 1..4 {
                std::fs::write(folder.path().join("other"), [written]).unwrap();
                assert_eq!(receiver.recv_timeout(Duration::from_mins(1)).unwrap(), "other");
            }
            drop(watch);
            // The watch has ended when its function is dropped. Until then it may report the last writes again.
            while receiver.recv_timeout(Duration::from_mins(1)).is_ok() {}
            assert!(receiver.try_recv() == Err(mpsc::TryRecvError::Disconnected));
        }
    }
}
