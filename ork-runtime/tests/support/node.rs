//! Where the tests' RabbitMQ is: one to share, and private ones that a test may kill.

use std::sync::OnceLock;

use crate::rabbit::Rabbit;

/// The RabbitMQ that tests share which do not harm it; `None` if there is none and none is required.
pub fn shared_node() -> Option<&'static str> {
    static NODE: OnceLock<Option<(String, Option<Rabbit>)>> = OnceLock::new();
    let node = NODE.get_or_init(|| match environment("ORK_TEST_AMQP_URL") {
        Some(url) => Some((url, None)),
        None => private_node().map(|node| (node.url(), Some(node))),
    });
    node.as_ref().map(|(url, _)| url.as_str())
}

/// A RabbitMQ that the caller may kill.
pub fn private_node() -> Option<Rabbit> {
    can_start_nodes().then(|| Rabbit::start_with(|_| String::new()))
}

/// Whether a test can have nodes of its own; if not, it says that it is skipped, or fails where it must not be.
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
