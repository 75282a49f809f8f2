//! The broker over RabbitMQ.

use std::sync::Arc;

use ork_amqp::{Amqp, QueueKind};
use ork_runtime::broker::{Broker, BrokerError};
use ork_runtime::config::{Config, QueueType};
use ork_runtime::id::WorkerId;

/// Sets up the broker that the configuration names, without connecting to it yet.
pub(super) fn open(config: &Config, worker: &WorkerId) -> Result<Arc<dyn Broker>, BrokerError> {
    let mut amqp = ork_amqp::Config::new(&config.broker)?;
    amqp.prefix.clone_from(&config.prefix);
    amqp.queues = match config.queues {
        QueueType::Quorum => QueueKind::Quorum,
        QueueType::Classic => QueueKind::Classic,
    };
    amqp.name = format!("ork {worker}");
    amqp.max_message_bytes = config.max_message_bytes;
    amqp.management.clone_from(&config.management);
    amqp.allowed.part_queues = config.part_queues.split(',').map(str::to_owned).collect();
    amqp.allowed.routes = config.hook_routes.split(',').map(str::to_owned).collect();
    Ok(Arc::new(Amqp::new(amqp)?))
}
