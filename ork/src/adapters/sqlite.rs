//! Stores in an `SQLite` file.

use std::sync::Arc;

use ork_runtime::config::{self, Config};
use ork_runtime::store::{Store, StoreError};
use ork_runtime::task::call::BoxFuture;
use ork_sqlite::{Sqlite, Synchronous};

/// Opens the file that the configuration names.
pub(super) fn open(config: &Config) -> BoxFuture<Result<Arc<dyn Store>, StoreError>> {
    let synchronous = match config.synchronous {
        config::Synchronous::Full => Synchronous::Full,
        config::Synchronous::Normal => Synchronous::Normal,
    };
    let path = config.store.strip_prefix("sqlite:").unwrap_or(&config.store).to_owned();
    Box::pin(async move {
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(path.as_ref(), synchronous)?);
        Ok(store)
    })
}
