//! Objects in a folder, or in a bucket of an S3-compatible service.
//!
//! A folder is shared by the processes of one machine, or of several machines that mount it; writes are flushed to
//! disk. A bucket is located and opened by the usual `AWS_` variables, which only the `object_store` library reads.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};
use uuid::Uuid;

use super::{Object, ObjectError, ObjectErrorKind, Objects};
use crate::clock::Timestamp;

/// Larger objects are written and read in pieces of this size, so that no single request takes long.
const PIECE: usize = 8 * 1024 * 1024;

/// The number of pieces that are transferred at a time.
const PIECES: usize = 4;

/// A folder or a bucket.
#[derive(Debug)]
pub struct Bucket {
    store: Box<dyn ObjectStore>,
    /// The prefix of all object names.
    prefix: Path,
    place: String,
}

/// Returns the error as text, not as a source: its message contains those of its sources, which would be printed
/// twice.
fn error_text(error: &object_store::Error) -> String {
    error.to_string()
}

fn config(place: &str, detail: &str) -> ObjectError {
    ObjectError::new(ObjectErrorKind::Config, format!("cannot store large outputs in {place}: {detail}"))
}

impl Bucket {
    /// Opens `file:PATH`, creating the folder if it does not exist, or `s3://BUCKET/PREFIX`, without connecting to it
    /// yet.
    ///
    /// ```
    /// use ork_runtime::objects::{Objects as _, bucket::Bucket};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let place = Bucket::open(&format!("file:{}", folder.path().display()))?;
    /// place.put("a/b", "{}".into()).await?;
    /// assert_eq!(place.get("a/b", 2).await?, "{}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the URL is wrong, the folder cannot be created, or this program was built without the
    /// required feature.
    pub fn open(url: &str) -> Result<Self, ObjectError> {
        match url.split_once(':') {
            Some(("file", path)) => Self::folder(url, path.strip_prefix("//").unwrap_or(path)),
            Some(("s3", bucket)) => Self::s3(url, bucket.strip_prefix("//").unwrap_or_default()),
            _ => Err(config(url, "expected `file:PATH` or `s3://BUCKET/PREFIX`")),
        }
    }

    fn folder(place: &str, path: &str) -> Result<Self, ObjectError> {
        if path.is_empty() {
            return Err(config(place, "the folder is missing: expected `file:PATH`"));
        }
        std::fs::create_dir_all(path)
            .map_err(|error| config(place, "the folder cannot be created").with_source(error))?;
        let store = LocalFileSystem::new_with_prefix(path)
            .map_err(|error| config(place, "the folder cannot be used").with_source(error_text(&error)))?;
        let store = store.with_automatic_cleanup(true).with_fsync(true);
        Ok(Self { store: Box::new(store), prefix: Path::default(), place: place.to_owned() })
    }

    #[cfg(feature = "s3")]
    fn s3(place: &str, bucket: &str) -> Result<Self, ObjectError> {
        use object_store::RetryConfig;
        use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        if bucket.is_empty() {
            return Err(config(place, "the bucket is missing: expected `s3://BUCKET/PREFIX`"));
        }
        let prefix = Path::parse(prefix).map_err(|error| config(place, "the prefix is invalid").with_source(error))?;
        // The callers retry by themselves and report it.
        let retry =
            RetryConfig { max_retries: 2, retry_timeout: std::time::Duration::from_secs(20), ..Default::default() };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
        if endpoint.iter().filter_map(|key| builder.get_config_value(key)).any(|url| url.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        let store = builder.build().map_err(|error| {
            config(place, "the name of the bucket or one of the AWS_ variables is invalid")
                .with_source(error_text(&error))
        })?;
        Ok(Self { store: Box::new(store), prefix, place: place.to_owned() })
    }

    #[cfg(not(feature = "s3"))]
    fn s3(place: &str, _bucket: &str) -> Result<Self, ObjectError> {
        Err(config(place, "this program was built without the feature `s3`"))
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    fn error(&self, kind: ObjectErrorKind, doing: &str, name: &str, error: &object_store::Error) -> ObjectError {
        ObjectError::new(kind, format!("cannot {doing} `{name}` in {}", self.place)).with_source(error_text(error))
    }

    async fn write(&self, path: &Path, body: Bytes) -> object_store::Result<()> {
        if body.len() <= PIECE {
            return self.store.put(path, body.into()).await.map(drop);
        }
        let mut upload = WriteMultipart::new_with_chunk_size(self.store.put_multipart(path).await?, PIECE);
        for piece in pieces(u64::try_from(body.len()).unwrap_or(u64::MAX)) {
            upload.wait_for_capacity(PIECES).await?;
            let piece = usize::try_from(piece.start).unwrap_or(0)..usize::try_from(piece.end).unwrap_or(0);
            upload.put(body.slice(piece));
        }
        upload.finish().await.map(drop)
    }

    async fn read(&self, path: &Path, bytes: u64) -> object_store::Result<Bytes> {
        let mut ranges = pieces(bytes);
        let (first, second) = (ranges.next(), ranges.next());
        let (Some(first), Some(second)) = (first, second) else {
            return self.store.get(path).await?.bytes().await;
        };
        let ranges = [first, second].into_iter().chain(ranges);
        let mut pieces = stream::iter(ranges).map(|range| self.store.get_range(path, range)).buffered(PIECES);
        let mut body = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or(0));
        while let Some(piece) = pieces.try_next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }
}

/// Returns the ranges into which an object of this many bytes is divided.
fn pieces(bytes: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let size = u64::try_from(PIECE).unwrap_or(u64::MAX);
    (0..bytes.div_ceil(size)).map(move |number| number * size..bytes.min((number + 1) * size))
}

#[async_trait]
impl Objects for Bucket {
    fn place(&self) -> &str {
        &self.place
    }

    async fn put(&self, name: &str, body: Bytes) -> Result<(), ObjectError> {
        let written = self.write(&self.path(name), body).await;
        // A bucket that does not exist may still be created.
        written.map_err(|error| self.error(ObjectErrorKind::Unavailable, "write", name, &error))
    }

    async fn get(&self, name: &str, bytes: u64) -> Result<Bytes, ObjectError> {
        self.read(&self.path(name), bytes).await.map_err(|error| {
            let kind = match &error {
                object_store::Error::NotFound { .. } => ObjectErrorKind::Missing,
                _ => ObjectErrorKind::Unavailable,
            };
            self.error(kind, "read", name, &error)
        })
    }

    fn list(&self, word: &str) -> BoxStream<'static, Result<Object, ObjectError>> {
        let (prefix, place, word) = (self.prefix.clone(), self.place.clone(), word.to_owned());
        let found = self.store.list(Some(&self.path(&word)));
        found
            .map(move |object| match object {
                Ok(object) => {
                    let name = object.location.prefix_match(&prefix).map(Path::from_iter).unwrap_or_default();
                    let written = Timestamp::from_millis(object.last_modified.timestamp_millis());
                    Ok(Object { name: name.to_string(), written })
                }
                Err(error) => {
                    let what = format!("cannot list `{word}` in {place}");
                    Err(ObjectError::new(ObjectErrorKind::Unavailable, what).with_source(error_text(&error)))
                }
            })
            .boxed()
    }

    async fn remove(&self, names: Vec<String>) -> Result<(), ObjectError> {
        let first = names.first().cloned().unwrap_or_default();
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(name))).collect();
        let mut removed = self.store.delete_stream(stream::iter(paths).boxed());
        while let Some(end) = removed.next().await {
            match end {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.error(ObjectErrorKind::Unavailable, "remove", &first, &error)),
            }
        }
        Ok(())
    }

    async fn check(&self) -> Result<String, ObjectError> {
        let name = format!("check-{}", Uuid::new_v4());
        self.put(&name, Bytes::from_static(b"null")).await?;
        self.get(&name, 4).await?;
        self.remove(vec![name]).await?;
        Ok(format!("in {}, readable and writable", self.place))
    }
}
