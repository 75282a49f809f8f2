//! Private RabbitMQ nodes on free loopback ports, which a test can kill and restart.
//!
//! `.ci/services` does the same in shell for the node that a whole test run shares.

pub use crate::ports::free_port;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// The time that a node may take to start on a busy machine.
const START: Duration = Duration::from_mins(2);

/// The pause between two checks whether the node is up, as it gives no other sign.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts the node, waits until its own standard input closes, and then takes everything down.
///
/// The input closes with the test process, however that ends, so a node kept in a `static` does not outlive it.
const GUARD: &str = r#"
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 </dev/null &
("$0" </dev/null; kill -KILL 0) &
cat >/dev/null
setsid sh -c 'echo apart; sleep 1; rm -rf "$0"' "$1" </dev/null | head -n 1 >/dev/null
kill -KILL 0
"#;

/// A private node. It ends when this is dropped, or with the test process.
#[derive(Debug)]
pub struct Rabbit {
    dir: TempDir,
    ports: [u16; 3],
    node: Option<Child>,
}

impl Rabbit {
    /// Returns whether the server is installed, where Debian puts it or in the folder that `ORK_TEST_RABBITMQ` names.
    pub fn is_installed() -> bool {
        sbin().is_some()
    }

    /// Starts a node with additional lines in its configuration, which may name files in its folder, and returns once
    /// it accepts connections.
    pub fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        let mut rabbit = Self::lay_out([(); 3].map(|()| free_port()), more);
        rabbit.restart();
        rabbit
    }

    /// Prepares a node without starting it. The ports are for AMQP, for other nodes, and for its epmd.
    pub fn lay_out(ports: [u16; 3], more: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["home", "mnesia", "log"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let cookie = dir.path().join("home/.erlang.cookie");
        fs::write(&cookie, format!("ork{:016x}", std::process::id())).unwrap();
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)).unwrap();
        fs::write(dir.path().join("enabled_plugins"), "[].\n").unwrap();
        fs::write(
            dir.path().join("rabbitmq.conf"),
            format!(
                "listeners.tcp.1 = 127.0.0.1:{}\nloopback_users = none\nlog.console = false\ndisk_free_limit.absolute = 50MB\n{}",
                ports[0],
                more(dir.path())
            ),
        )
        .unwrap();
        Self { dir, ports, node: None }
    }

    /// Returns the name by which other nodes know the node with this AMQP port.
    pub fn name_of(port: u16) -> String {
        format!("ork{port}@localhost")
    }

    /// Returns the URL of the node.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port())
    }

    /// Returns the AMQP port of the node.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Kills the node, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            // The node, its helpers and its epmd are one process group, led by the child.
            let group = format!("-{}", node.id());
            let killed = Command::new("kill").args(["-KILL", "--", &group]).status().unwrap();
            assert!(killed.success(), "cannot end the private node {group}");
            node.wait().unwrap();
            // The other processes of the group write to its folder until they have ended, too.
            wait_until(&format!("the private node {group} does not end"), || !is_alive(node.id()));
        }
    }

    /// Stops the node gracefully, as a system shutdown would.
    pub fn stop(&mut self) {
        let Some(mut node) = self.node.take() else { return };
        let pid = fs::read_to_string(self.dir.path().join("beam.pid")).unwrap();
        let status = Command::new("kill").args(["-TERM", "--", pid.trim()]).status().unwrap();
        assert!(status.success(), "cannot stop the private node {pid}");
        // Once the server has ended, its guard ends the whole group. If the input closed first, the guard would remove
        // the data.
        let input = node.stdin.take();
        node.wait().unwrap();
        drop(input);
        wait_until(&format!("the private node {pid} does not end"), || !is_alive(node.id()));
    }

    /// Waits until a quorum queue is recorded on disk.
    ///
    /// RabbitMQ 3.10 keeps the names of quorum queues in memory for about three seconds. A node that is killed within
    /// that time restarts with a queue that never finds its leader (rabbitmq-server#15725), whatever a client does.
    pub fn wait_for_quorum_queue(&self, queue: &str) {
        let node = Self::name_of(self.port());
        let names = self.dir.path().join("mnesia").join(&node).join("quorum").join(&node).join("names.dets");
        wait_until(&format!("the quorum queue {queue} is not on disk"), || {
            fs::read(&names).is_ok_and(|file| file.windows(queue.len()).any(|part| part == queue.as_bytes()))
        });
    }

    /// Returns a command for a program of the server that manages this node.
    pub fn command(&self, program: &str) -> Command {
        let programs = sbin().expect("rabbitmq-server is not installed");
        let [amqp, _, epmd] = self.ports;
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", programs.display()))
            .env("LANG", "C.UTF-8")
            .env("HOME", self.dir.path().join("home"))
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", Self::name_of(amqp));
        command
    }

    /// Starts the node again with its old data, and returns once it accepts connections.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
        self.wait_for_start();
    }

    /// Starts the node without waiting for it.
    pub fn launch(&mut self) {
        let dir = self.dir.path();
        let [amqp, dist, _] = self.ports;
        let log = fs::File::create(dir.join("log/output")).unwrap();
        let mut command = self.command("bash");
        command
            .args(["-c", GUARD, "rabbitmq-server"])
            .arg(dir)
            .env("RABBITMQ_NODE_PORT", amqp.to_string())
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_DIST_PORT", dist.to_string())
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_PID_FILE", dir.join("beam.pid"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        self.node = Some(command.spawn().unwrap());
    }

    /// Waits until the node accepts connections.
    pub fn wait_for_start(&mut self) {
        let amqp = self.port();
        let output = self.dir.path().join("log/output");
        let node = self.node.as_mut().unwrap();
        wait_until("the private node does not start", || {
            let ended = node.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(&output).unwrap_or_default());
            speaks_amqp(amqp)
        });
    }
}

/// Polls until the condition holds, and panics with `otherwise` if that takes too long. A process or a file of another
/// program gives no sign to wait for.
pub fn wait_until(otherwise: &str, mut condition: impl FnMut() -> bool) {
    let mut left = START;
    while !condition() {
        assert!(!left.is_zero(), "{otherwise}");
        left = left.saturating_sub(PAUSE);
        std::thread::sleep(PAUSE);
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns whether any process of a process group still runs. Zombies do not count.
fn is_alive(group: u32) -> bool {
    let group = group.to_string();
    fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // The fields after the name, which may contain anything: state, parent, group.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.next().is_some_and(|state| state != "Z") && fields.nth(1) == Some(group.as_str())
    })
}

fn speaks_amqp(port: u16) -> bool {
    let greet = || -> std::io::Result<u8> {
        let patience = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0])
    };
    greet().is_ok_and(|first| first == 1)
}

/// Returns the folder with the server itself, because the one in `PATH` switches to the system's user and paths.
///
/// `ORK_TEST_RABBITMQ` names the folder of another version.
#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
fn sbin() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("ORK_TEST_RABBITMQ").filter(|folder| !folder.is_empty()) {
        return Some(folder.into());
    }
    let versions = fs::read_dir("/usr/lib/rabbitmq/lib").ok()?.flatten().map(|entry| entry.path().join("sbin"));
    versions
        .chain([Path::new("/usr/lib/rabbitmq/bin").to_owned()])
        .find(|folder| folder.join("rabbitmq-server").exists())
}
