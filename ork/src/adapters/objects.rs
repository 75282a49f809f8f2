//! Large outputs in a folder or a bucket.

use std::sync::Arc;

use ork_runtime::objects::bucket::Bucket;
use ork_runtime::objects::{ObjectError, Objects};

/// Opens the folder or the bucket at this URL.
pub(super) fn open(url: &str) -> Result<Arc<dyn Objects>, ObjectError> {
    Ok(Arc::new(Bucket::open(url)?))
}
