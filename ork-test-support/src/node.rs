//! The RabbitMQ nodes of the tests: one that they share, and private ones that a test may kill.

use std::sync::OnceLock;

use crate::rabbit::Rabbit;

/// Returns the URL of the node for tests that do it no harm; `None` if RabbitMQ is neither available nor required.
pub fn shared_node() -> Option<&'static str> {
    static NODE: OnceLock<Option<(String, Option<Rabbit>)>> = OnceLock::new();
    let node = NODE.get_or_init(|| match environment("ORK_TEST_AMQP_URL") {
        Some(url) => Some((url, None)),
        None => private_node().map(|node| (node.url(), Some(node))),
    });
    node.as_ref().map(|(url, _)| url.as_str())
}

/// Starts a node that the caller may kill; `None` if RabbitMQ is neither installed nor required.
pub fn private_node() -> Option<Rabbit> {
    can_start_nodes().then(|| Rabbit::start_with(|_| String::new()))
}

/// Returns whether a test can start its own nodes. If not, prints that it is skipped, or panics if RabbitMQ is
/// required.
#[expect(clippy::print_stdout, reason = "a test that was skipped must say so")]
pub fn can_start_nodes() -> bool {
    if Rabbit::is_installed() {
        return true;
    }
    let required = environment("ORK_TEST_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|service| service.trim() == "amqp"),
        "RabbitMQ is required (ORK_TEST_REQUIRE) but not installed: run `.ci/services install`, or set ORK_TEST_AMQP_URL"
    );
    println!("skipped: RabbitMQ is not installed; run `.ci/services install`, or set ORK_TEST_AMQP_URL");
    false
}

#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
