//! The adapters that a program was built with, as tables from URL scheme to adapter.

use std::sync::Arc;

use crate::broker::{Broker, BrokerError, BrokerErrorKind};
use crate::clock::Clock;
use crate::config::Config;
use crate::executor::Executor;
use crate::id::WorkerId;
use crate::objects::{ObjectError, ObjectErrorKind, Objects};
use crate::store::memory::Memory;
use crate::store::none::NoStore;
use crate::store::{Store, StoreError, StoreErrorKind};
use crate::task::call::BoxFuture;

/// Opens the store that the configuration names.
pub type OpenStore = fn(&Config) -> BoxFuture<Result<Arc<dyn Store>, StoreError>>;

/// Opens the broker that the configuration names, without connecting to it yet.
pub type OpenBroker = fn(&Config, &WorkerId) -> Result<Arc<dyn Broker>, BrokerError>;

/// Opens the place for large outputs at this URL.
pub type OpenObjects = fn(&str) -> Result<Arc<dyn Objects>, ObjectError>;

/// Creates the executor, which runs tasks in other languages.
pub type NewExecutor = fn(&Config, &Arc<dyn Clock>) -> Arc<dyn Executor>;

/// The adapters that a program was built with. The store `memory:`, the store `none` and the embedded broker are always
/// there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Adapters {
    /// The stores.
    pub stores: &'static [Adapter<OpenStore>],
    /// The brokers.
    pub brokers: &'static [Adapter<OpenBroker>],
    /// The places for large outputs.
    pub objects: &'static [Adapter<OpenObjects>],
    /// The executor; `None` without the feature `workflow`.
    pub executor: Option<NewExecutor>,
}

/// An adapter, and the URLs for which it is used.
#[derive(Debug, Clone, Copy)]
pub struct Adapter<F> {
    /// The schemes of its URLs.
    pub schemes: &'static [&'static str],
    /// The feature of the crate `ork` that enables it.
    pub feature: &'static str,
    /// Opens it; `None` if the program was built without the feature.
    pub open: Option<F>,
}

/// The reason why a table has no adapter for a URL.
enum Missing {
    /// The program was built without this feature.
    Feature(&'static str),
    /// No adapter has this scheme.
    Scheme,
}

/// Returns the function that opens the adapter of a URL.
fn find<F: Copy>(table: &[Adapter<F>], url: &str) -> Result<F, Missing> {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    let adapter = table.iter().find(|adapter| scheme.is_some_and(|scheme| adapter.schemes.contains(&scheme)));
    let adapter = adapter.ok_or(Missing::Scheme)?;
    adapter.open.ok_or(Missing::Feature(adapter.feature))
}

impl Adapters {
    /// Opens the store that the configuration names.
    pub(super) async fn store(&self, config: &Config) -> Result<Arc<dyn Store>, StoreError> {
        let message = match config.store.as_str() {
            "memory:" => return Ok(Arc::new(Memory::new())),
            "none" if config.broker != "embedded" => return Ok(Arc::new(NoStore::new())),
            "none" => {
                "the embedded broker needs a store: set ORK_BROKER, or set a store, e.g. ORK_STORE=sqlite:ork.db".into()
            }
            url => match find(self.stores, url) {
                Ok(open) => return open(config).await,
                Err(Missing::Feature(feature)) => without(feature, "ORK_STORE"),
                Err(Missing::Scheme) => "expected a store `sqlite:PATH`, `postgres://…`, `memory:` or `none`".into(),
            },
        };
        Err(StoreError::new(StoreErrorKind::Config, message))
    }

    /// Opens the broker that the configuration names; `None` if jobs travel through the store.
    pub(super) fn broker(&self, config: &Config, worker: &WorkerId) -> Result<Option<Arc<dyn Broker>>, BrokerError> {
        if config.broker == "embedded" {
            return Ok(None);
        }
        let message = match find(self.brokers, &config.broker) {
            Ok(open) => return open(config, worker).map(Some),
            Err(Missing::Feature(feature)) => without(feature, "ORK_BROKER"),
            Err(Missing::Scheme) => "expected a broker `embedded`, `amqp://…` or `amqps://…`".into(),
        };
        Err(BrokerError::new(BrokerErrorKind::Config, message))
    }

    /// Opens the place for large outputs that the configuration names; `None` if they stay in the store.
    pub(super) fn objects(&self, config: &Config) -> Result<Option<Arc<dyn Objects>>, ObjectError> {
        let url = config.large_outputs.as_str();
        if url == "store" {
            return Ok(None);
        }
        let detail = match find(self.objects, url) {
            Ok(open) => return open(url).map(Some),
            Err(Missing::Feature(feature)) => format!(
                "this program was built without the feature `{feature}`: add it with `cargo add ork --features {feature}`"
            ),
            Err(Missing::Scheme) => "expected `file:PATH` or `s3://BUCKET/PREFIX`".into(),
        };
        Err(ObjectError::new(ObjectErrorKind::Config, format!("cannot store large outputs in {url}: {detail}")))
    }

    /// Returns the executor; `None` if the program was built without it.
    pub(super) fn executor(&self, config: &Config, clock: &Arc<dyn Clock>) -> Option<Arc<dyn Executor>> {
        self.executor.map(|new| new(config, clock))
    }
}

fn without(feature: &str, variable: &str) -> String {
    format!(
        "this program was built without the feature `{feature}`, which {variable} needs: add it with `cargo add ork \
         --features {feature}`"
    )
}
