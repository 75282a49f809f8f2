//! Stores in a `PostgreSQL` database.

use std::sync::Arc;

use ork_postgres::Postgres;
use ork_runtime::config::Config;
use ork_runtime::store::{Store, StoreError};
use ork_runtime::task::call::BoxFuture;

/// Connects to the database that the configuration names.
pub(super) fn open(config: &Config) -> BoxFuture<Result<Arc<dyn Store>, StoreError>> {
    let url = config.store.clone();
    Box::pin(async move {
        let store: Arc<dyn Store> = Arc::new(Postgres::open(&url).await?);
        Ok(store)
    })
}
