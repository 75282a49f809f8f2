//! Worker processes: this test program itself, started as a worker, to be killed at any moment.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Child, Command, Stdio};

use ork::OrkBuilder;

/// The variable with all settings of a worker.
const PLACE: &str = "ORK_TEST_CHAOS";

/// The store and the broker that processes share.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Any store that processes can share.
    pub(crate) store: String,
    pub(crate) broker: String,
    pub(crate) prefix: String,
    /// How often work may be lost with its worker.
    pub(crate) losses: u32,
}

impl Place {
    pub(crate) fn builder(&self) -> OrkBuilder {
        let config = ork::Config::from(Some(std::path::Path::new("/dev/null")), []).unwrap();
        let builder = ork::builder().config(config).store(&self.store).broker(&self.broker);
        // Without RabbitMQ, no listener receives events.
        let builder =
            if self.broker == "embedded" { builder } else { builder.set("prefix", &self.prefix).set("events", "jobs") };
        builder.set("concurrency", "8").set("max_worker_losses", self.losses.to_string()).set("shutdown", "20s")
    }

    /// Returns the same place with another URL of the broker.
    pub(crate) fn by(&self, broker: String) -> Self {
        Self { broker, ..self.clone() }
    }

    pub(crate) fn worker(&self) -> Worker {
        let place = [&*self.store, &self.broker, &self.prefix, &self.losses.to_string()].join("\n");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["processes::worker", "--exact", "--ignored", "--nocapture"]).env(PLACE, place);
        let log = tempfile::tempfile().unwrap();
        let end = || log.try_clone().unwrap();
        let process = command.stdin(Stdio::piped()).stdout(end()).stderr(end()).spawn().unwrap();
        Worker { process, log }
    }
}

/// A worker process. It ends when its standard input closes, so it never outlives the test.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Child,
    /// Its output.
    log: File,
}

impl Worker {
    /// Kills the process, as a power cut would.
    pub(crate) fn kill(mut self) {
        let ended = self.process.try_wait().unwrap();
        assert!(ended.is_none(), "a worker ended before it was killed: {ended:?}\n{}", self.read_log());
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Lets the worker finish what it has started, and end.
    pub(crate) fn drain(mut self) {
        drop(self.process.stdin.take());
        let ended = self.process.wait().unwrap();
        assert!(ended.success(), "a worker ended badly: {ended}\n{}", self.read_log());
    }

    /// Returns the pid.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// Returns whether the worker has already ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    fn read_log(&mut self) -> String {
        let mut text = String::new();
        self.log.rewind().unwrap();
        self.log.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended before.
        let _ended = (self.process.kill(), self.process.wait());
    }
}

#[test]
#[ignore = "a worker process that the other tests start"]
fn worker() {
    let place = std::env::var(PLACE).expect("only the other tests start it");
    let mut lines = place.lines().map(str::to_owned);
    let mut next = || lines.next().unwrap();
    let place = Place { store: next(), broker: next(), prefix: next(), losses: next().parse().unwrap() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // RabbitMQ may be down at the moment.
        let ork = loop {
            if let Ok(ork) = place.builder().build().await {
                break ork;
            }
        };
        let drain = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        let working = async {
            let stopped = ork.run_worker().await.unwrap();
            assert_ne!(stopped, ork::Stopped::Failed);
        };
        let draining = async {
            assert_eq!(drain.await.unwrap().unwrap(), 0);
            ork.worker().stop();
        };
        tokio::join!(working, draining);
        ork.shutdown().await;
    });
}
