//! The runtime and the random numbers of one process.

use std::io;
use std::sync::{Arc, Mutex};

use ork::JobId;
use ork_core::clock::Clock as _;
use ork_core::entropy::Entropy;
use ork_ports::runtime::{Runtime, Spawned};
use uuid::Uuid;

use super::clock::ProcessClock;
use super::dice::Dice;
use super::executor::{Executor, Owner};

/// The longest that a blocking call waits for its thread, in microseconds.
pub(crate) const THREAD: u64 = 500_000;

/// Runs the futures of one process.
#[derive(Debug)]
pub(crate) struct SimRuntime {
    pub(crate) executor: Arc<Executor>,
    pub(crate) owner: Owner,
    pub(crate) dice: Mutex<Dice>,
}

impl Runtime for SimRuntime {
    fn spawn(&self, future: Spawned) {
        self.executor.spawn_boxed(self.owner, future);
    }

    fn spawn_thread(&self, _name: &str, future: Spawned) -> io::Result<()> {
        self.executor.spawn_boxed(self.owner, future);
        Ok(())
    }

    fn spawn_blocking(&self, call: Box<dyn FnOnce() + Send>) {
        let waits = self.executor.sleep(self.dice.lock().unwrap().any_size(THREAD));
        self.executor.spawn(self.owner, async move {
            waits.await;
            call();
        });
    }
}

/// The random numbers of one process. Ids begin with the time of its own clock, as real ones do.
#[derive(Debug)]
pub(crate) struct SimEntropy {
    pub(crate) clock: Arc<ProcessClock>,
    pub(crate) dice: Mutex<Dice>,
    /// The time of the last id, and how many ids have that time.
    pub(crate) last: Mutex<(u64, u16)>,
}

impl Entropy for SimEntropy {
    fn job_id(&self) -> JobId {
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        let mut last = self.last.lock().unwrap();
        *last = if now > last.0 { (now, 0) } else { (last.0, last.1 + 1) };
        let random = self.dice.lock().unwrap().next().to_be_bytes();
        let mut bytes = [0; 10];
        for (to, from) in bytes.iter_mut().zip(last.1.to_be_bytes().into_iter().chain(random)) {
            *to = from;
        }
        JobId::from_bytes(uuid::Builder::from_unix_timestamp_millis(last.0, &bytes).into_uuid().into_bytes())
    }

    fn uuid(&self) -> Uuid {
        let mut dice = self.dice.lock().unwrap();
        let bits = u128::from(dice.next()) << 64 | u128::from(dice.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    fn fraction(&self) -> f64 {
        let bits = u32::try_from(self.dice.lock().unwrap().next() >> 32).unwrap_or(0);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}
