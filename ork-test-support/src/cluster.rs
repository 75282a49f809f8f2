//! A private cluster of three RabbitMQ nodes on loopback, which a test can kill one by one.

use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use crate::rabbit::{Rabbit, free_port, wait_until};

/// Runs the epmd of the nodes until its standard input closes, which happens with the test process at the latest.
const EPMD: &str = r#"epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 </dev/null & cat >/dev/null; kill -KILL 0"#;

/// A running cluster. Its nodes end when it is dropped, or with the test process.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: [Rabbit; 3],
    /// The epmd (Erlang's port mapper) of all nodes. Each node also starts one, which finds the port taken and exits.
    epmd: Child,
}

impl Cluster {
    /// Starts three nodes, and returns once they accept connections and form a cluster.
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
        // Launched together: since RabbitMQ 4.0 a new node waits for its peers.
        nodes.iter_mut().for_each(Rabbit::launch);
        nodes.iter_mut().for_each(Rabbit::wait_for_start);
        let joined = nodes[0].command("rabbitmqctl").args(["await_online_nodes", "3"]).output().unwrap();
        assert!(joined.status.success(), "the nodes do not make a cluster: {joined:?}");
        Self { nodes, epmd: child.unwrap() }
    }

    /// Returns the URLs of all nodes, separated by commas, beginning with node `first`.
    pub fn urls(&self, first: usize) -> String {
        let nodes = self.nodes.iter().cycle().skip(first).take(self.nodes.len());
        nodes.map(Rabbit::url).collect::<Vec<_>>().join(",")
    }

    /// Returns the index of the node that leads this quorum queue, waiting until the queue has a leader.
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

/// Returns the leader of the queue according to this node, if the node runs.
fn leader_by(node: &Rabbit, queue: &str) -> Option<String> {
    let output = node.command("rabbitmqctl").args(["--quiet", "list_queues", "name", "leader"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let row = table.lines().find_map(|row| row.strip_prefix(queue)?.strip_prefix('\t').map(str::to_owned));
    row.filter(|leader| !leader.is_empty())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.epmd.stdin.take());
        // The shell kills its own process group, so its exit status is of no interest.
        let _ended = self.epmd.wait();
    }
}
