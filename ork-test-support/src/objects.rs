//! An object store in memory that can fail, and can truncate or lose its objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use ork_core::clock::Timestamp;
use ork_ports::objects::{Object, ObjectError, ObjectErrorKind, Objects};
use tokio::sync::watch;

/// The object store.
#[derive(Debug)]
pub struct Shelf {
    objects: Mutex<BTreeMap<String, (Bytes, Timestamp)>>,
    /// While this is `true`, every call fails.
    pub broken: watch::Sender<bool>,
    /// The number of calls that failed because of `broken`.
    pub refused: watch::Sender<usize>,
    /// The number of objects that are being read now, and the largest number that were read at once.
    reading: Mutex<(usize, usize)>,
}

impl Shelf {
    /// Creates an empty object store.
    pub fn new() -> Arc<Self> {
        let (broken, refused) = (watch::channel(false).0, watch::channel(0).0);
        Arc::new(Self { objects: Mutex::default(), broken, refused, reading: Mutex::default() })
    }

    /// Returns the names of all objects.
    pub fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    /// Returns how many objects were read at once at most.
    pub fn most_read_at_once(&self) -> usize {
        self.reading.lock().unwrap().1
    }

    /// Stores an object as if it had been written at this time.
    pub fn leave(&self, name: &str, written: Timestamp) {
        self.objects.lock().unwrap().insert(name.to_owned(), (Bytes::from_static(b"1"), written));
    }

    /// Truncates every object to `left` bytes, or removes all objects if that is `None`.
    pub fn damage(&self, left: Option<usize>) {
        let mut objects = self.objects.lock().unwrap();
        match left {
            None => objects.clear(),
            Some(left) => objects.values_mut().for_each(|(body, _)| body.truncate(left)),
        }
    }

    /// Waits until a call has failed because of `broken`.
    pub async fn has_refused(&self) {
        self.refused.subscribe().wait_for(|n| *n > 0).await.unwrap();
    }

    fn works(&self) -> Result<(), ObjectError> {
        if !*self.broken.borrow() {
            return Ok(());
        }
        self.refused.send_modify(|n| *n += 1);
        Err(ObjectError::new(ObjectErrorKind::Unavailable, "the shelf is set to fail"))
    }
}

#[async_trait]
impl Objects for Shelf {
    fn place(&self) -> &'static str {
        "the shelf"
    }

    /// Stores the object with a time of writing long ago, so that it counts as old at once.
    async fn put(&self, name: &str, body: Bytes) -> Result<(), ObjectError> {
        tokio::task::yield_now().await;
        self.works()?;
        let written = (body, Timestamp::default());
        let before = self.objects.lock().unwrap().insert(name.to_owned(), written.clone());
        assert!(before.is_none_or(|before| before == written), "{name} was written twice, and otherwise");
        Ok(())
    }

    async fn get(&self, name: &str, _bytes: u64) -> Result<Bytes, ObjectError> {
        {
            let mut reading = self.reading.lock().unwrap();
            reading.0 += 1;
            reading.1 = reading.1.max(reading.0);
        }
        tokio::task::yield_now().await;
        self.reading.lock().unwrap().0 -= 1;
        self.works()?;
        let found = self.objects.lock().unwrap().get(name).map(|(body, _)| body.clone());
        let message = || format!("there is no `{name}` on the shelf");
        found.ok_or_else(|| ObjectError::new(ObjectErrorKind::Missing, message()))
    }

    fn list(&self, word: &str) -> BoxStream<'static, Result<Object, ObjectError>> {
        let objects = self.objects.lock().unwrap();
        let below = objects.iter().filter(|(name, _)| name.starts_with(&format!("{word}/")));
        let listed = below.map(|(name, (_, written))| Ok(Object { name: name.clone(), written: *written }));
        let listed: Vec<_> = self.works().err().map(Err).into_iter().chain(listed).collect();
        stream::iter(listed).boxed()
    }

    async fn remove(&self, names: Vec<String>) -> Result<(), ObjectError> {
        self.works()?;
        self.objects.lock().unwrap().retain(|name, _| !names.contains(name));
        Ok(())
    }

    async fn check(&self) -> Result<String, ObjectError> {
        self.works().map(|()| "on the shelf".to_owned())
    }
}
