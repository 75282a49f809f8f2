//! Opens the adapters that the configuration names. This is the only module that knows them all.

use std::sync::Arc;

use crate::broker::{Broker, BrokerError};
use crate::clock::Clock;
use crate::config::{Config, Synchronous};
use crate::executor::Executor;
use crate::id::WorkerId;
use crate::objects::{ObjectError, Objects};
use crate::store::memory::Memory;
use crate::store::none::NoStore;
use crate::store::{Store, StoreError, StoreErrorKind};

/// Opens the store that the configuration names.
pub(super) async fn store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    match config.store.split_once(':') {
        Some(("sqlite", path)) => sqlite(path, config.synchronous),
        Some(("postgres" | "postgresql", _)) => postgres(&config.store).await,
        Some(("memory", "")) => Ok(Arc::new(Memory::new())),
        None if config.store == "none" => {
            if config.broker == "embedded" {
                let message =
                    "the embedded broker needs a store: set ORK_BROKER, or set a store, e.g. ORK_STORE=sqlite:ork.db";
                return Err(StoreError::new(StoreErrorKind::Config, message));
            }
            Ok(Arc::new(NoStore::new()))
        }
        _ => {
            let message = "expected a store `sqlite:PATH`, `postgres://…`, `memory:` or `none`";
            Err(StoreError::new(StoreErrorKind::Config, message))
        }
    }
}

#[cfg(feature = "sqlite")]
fn sqlite(path: &str, synchronous: Synchronous) -> Result<Arc<dyn Store>, StoreError> {
    use crate::store::sqlite;
    let synchronous = match synchronous {
        Synchronous::Full => sqlite::Synchronous::Full,
        Synchronous::Normal => sqlite::Synchronous::Normal,
    };
    Ok(Arc::new(sqlite::Sqlite::open(path.as_ref(), synchronous)?))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(path: &str, _synchronous: Synchronous) -> Result<Arc<dyn Store>, StoreError> {
    let message = format!("this program was built without the feature `sqlite`, which sqlite:{path} needs");
    Err(StoreError::new(StoreErrorKind::Config, message))
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(crate::store::postgres::Postgres::open(url).await?))
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn postgres(_url: &str) -> Result<Arc<dyn Store>, StoreError> {
    let message = "this program was built without the feature `postgres`, which ORK_STORE needs";
    Err(StoreError::new(StoreErrorKind::Config, message))
}

/// Opens the place for large outputs that the configuration names; `None` if they stay in the store.
pub(super) fn objects(config: &Config) -> Result<Option<Arc<dyn Objects>>, ObjectError> {
    match config.large_outputs.as_str() {
        "store" => Ok(None),
        url => bucket(url).map(Some),
    }
}

#[cfg(feature = "object-store")]
fn bucket(url: &str) -> Result<Arc<dyn Objects>, ObjectError> {
    Ok(Arc::new(crate::objects::bucket::Bucket::open(url)?))
}

#[cfg(not(feature = "object-store"))]
fn bucket(url: &str) -> Result<Arc<dyn Objects>, ObjectError> {
    let feature = if url.starts_with("s3:") { "s3" } else { "object-store" };
    let message =
        format!("cannot store large outputs in {url}: this program was built without the feature `{feature}`");
    Err(ObjectError::new(crate::objects::ObjectErrorKind::Config, message))
}

/// Returns the broker that the configuration names; `None` if jobs travel through the store.
pub(super) fn broker(config: &Config, worker: &WorkerId) -> Result<Option<Arc<dyn Broker>>, BrokerError> {
    if config.broker == "embedded" {
        return Ok(None);
    }
    amqp(config, worker).map(Some)
}

#[cfg(not(feature = "amqp"))]
fn amqp(_config: &Config, _worker: &WorkerId) -> Result<Arc<dyn Broker>, BrokerError> {
    let message = "this program was built without the feature `amqp`, which ORK_BROKER needs";
    Err(BrokerError::new(crate::broker::BrokerErrorKind::Config, message))
}

#[cfg(feature = "amqp")]
fn amqp(config: &Config, worker: &WorkerId) -> Result<Arc<dyn Broker>, BrokerError> {
    use crate::broker::amqp::{self, Amqp};
    use crate::config::QueueType;
    let mut amqp = amqp::Config::new(&config.broker)?;
    amqp.prefix.clone_from(&config.prefix);
    amqp.queues = match config.queues {
        QueueType::Quorum => amqp::QueueKind::Quorum,
        QueueType::Classic => amqp::QueueKind::Classic,
    };
    amqp.name = format!("ork {worker}");
    amqp.max_message_bytes = config.max_message_bytes;
    amqp.management.clone_from(&config.management);
    amqp.allowed = crate::hook::Allowed {
        part_queues: config.part_queues.split(',').map(str::to_owned).collect(),
        routes: config.hook_routes.split(',').map(str::to_owned).collect(),
    };
    Ok(Arc::new(Amqp::new(amqp)?))
}

/// Variables that may contain passwords, so that tasks in other languages do not get them.
#[cfg(feature = "workflow")]
const SECRETS: [&str; 3] = ["ORK_BROKER", "ORK_MANAGEMENT", "ORK_STORE"];

/// Returns the executor, which runs tasks in other languages; `None` without the feature `workflow`.
#[cfg(feature = "workflow")]
#[expect(clippy::unnecessary_wraps, reason = "as without the feature")]
pub(super) fn executor(config: &Config, clock: &Arc<dyn Clock>) -> Option<Arc<dyn Executor>> {
    use crate::executor::local::{Local, Settings};
    let settings = Settings {
        python: config.python.clone(),
        interpreters: config.interpreters,
        grace: config.cancel_grace,
        most_output: config.max_message_bytes,
        withheld: SECRETS.map(str::to_owned).into(),
        ..Settings::default()
    };
    Some(Arc::new(Local::new(settings, Arc::clone(clock))))
}

#[cfg(not(feature = "workflow"))]
pub(super) fn executor(_config: &Config, _clock: &Arc<dyn Clock>) -> Option<Arc<dyn Executor>> {
    None
}
