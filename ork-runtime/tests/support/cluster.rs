//! Three RabbitMQ nodes of our own that know each other, on loopback, to be killed one by one.

use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use super::rabbit::{Rabbit, free_port, wait_until};

/// Runs the nodes' epmd until its own input ends, as it does with the test process.
const EPMD: &str = r#"epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 </dev/null & cat >/dev/null; kill -KILL 0"#;

/// A cluster; its nodes end when this is dropped, or with this process.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: [Rabbit; 3],
    /// What knows where the nodes are. Each node brings one, which finds the port taken by this one, and ends.
    epmd: Child,
}

impl Cluster {
    /// Three nodes that accept connections.
    pub fn start() -> Self {
        let epmd = free_port();
        let ports = [(); 3].map(|()| [free_port(), free_port(), epmd]);
        let peer =
            |n: usize| format!("cluster_formation.classic_config.nodes.{n} = {}\n", Rabbit::name_of(ports[n][0]));
        let peers: String = (0..3).map(peer).collect();
        let peers = format!("cluster_formation.peer_discovery_backend = classic_config\n{peers}");
        let mut nodes = ports.map(|ports| Rabbit::lay_out(ports, |_| peers.clone()));
        let mut command = nodes[0].command("bash");
        let child = command.args(["-c", EPMD]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.process_group(0).spawn();
        wait_until("epmd does not start", || TcpStream::connect(("127.0.0.1", epmd)).is_ok());
        // Together: from 4.0 on a new node waits for its peers.
        nodes.iter_mut().for_each(Rabbit::launch);
        nodes.iter_mut().for_each(Rabbit::wait_for_start);
        let joined = nodes[0].command("rabbitmqctl").args(["await_online_nodes", "3"]).output().unwrap();
        assert!(joined.status.success(), "the nodes do not make a cluster: {joined:?}");
        Self { nodes, epmd: child.unwrap() }
    }

    /// The URLs of all, beginning with this one.
    pub fn urls(&self, first: usize) -> String {
        let nodes = self.nodes.iter().cycle().skip(first).take(self.nodes.len());
        nodes.map(Rabbit::url).collect::<Vec<_>>().join(",")
    }

    /// Which node leads this quorum queue.
    pub fn leader(&self, queue: &str) -> usize {
        let mut found = None;
        wait_until(&format!("the queue {queue} has no leader"), || {
            found = self
                .nodes
                .iter()
                .find_map(|node| leader_by(node, queue))
                .and_then(|leader| self.nodes.iter().position(|node| Rabbit::name_of(node.port()) == leader));
            found.is_some()
        });
        found.unwrap()
    }
}

/// What this node says, if it runs.
fn leader_by(node: &Rabbit, queue: &str) -> Option<String> {
    let told = node.command("rabbitmqctl").args(["--quiet", "list_queues", "name", "leader"]).output().unwrap();
    let table = String::from_utf8(told.stdout).unwrap();
    let row = table.lines().find_map(|row| row.strip_prefix(queue)?.strip_prefix('\t').map(str::to_owned));
    row.filter(|leader| !leader.is_empty())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.epmd.stdin.take());
        // It ends itself by a signal.
        let _ended = self.epmd.wait();
    }
}
