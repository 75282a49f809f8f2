//! The adapters that this program was built with. No other module knows which ones there are.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "workflow")]
mod executor;
#[cfg(feature = "object-store")]
mod objects;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use ork_runtime::app::{Adapter, Adapters};

/// `Some` of a function, or `None` if the program was built without this feature.
macro_rules! with {
    ($feature:literal, $function:path) => {{
        #[cfg(feature = $feature)]
        let function = Some($function as _);
        #[cfg(not(feature = $feature))]
        let function = None;
        function
    }};
}

pub(crate) const ADAPTERS: Adapters = Adapters {
    stores: &[
        Adapter { schemes: &["sqlite"], feature: "sqlite", open: with!("sqlite", sqlite::open) },
        Adapter { schemes: &["postgres", "postgresql"], feature: "postgres", open: with!("postgres", postgres::open) },
    ],
    brokers: &[Adapter { schemes: &["amqp", "amqps"], feature: "amqp", open: with!("amqp", amqp::open) }],
    objects: &[
        Adapter { schemes: &["file"], feature: "object-store", open: with!("object-store", objects::open) },
        Adapter { schemes: &["s3"], feature: "s3", open: with!("s3", objects::open) },
    ],
    executor: with!("workflow", executor::new),
};
