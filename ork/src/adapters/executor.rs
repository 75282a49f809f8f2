//! The executor of tasks in other languages, which runs them on this machine.

use std::sync::Arc;

use ork_executor::{Local, Settings};
use ork_runtime::clock::Clock;
use ork_runtime::config::Config;
use ork_runtime::executor::Executor;

/// Variables that may contain passwords, so that tasks in other languages do not get them.
const SECRETS: [&str; 3] = ["ORK_BROKER", "ORK_MANAGEMENT", "ORK_STORE"];

/// Creates the executor.
pub(super) fn new(config: &Config, clock: &Arc<dyn Clock>) -> Arc<dyn Executor> {
    let settings = Settings {
        python: config.python.clone(),
        interpreters: config.interpreters,
        grace: config.cancel_grace,
        most_output: config.max_message_bytes,
        withheld: SECRETS.map(str::to_owned).into(),
        ..Settings::default()
    };
    Arc::new(Local::new(settings, Arc::clone(clock)))
}
