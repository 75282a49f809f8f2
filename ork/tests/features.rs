//! What a program says that was built without a feature that it needs. CI runs these tests with the default features.

#![cfg(not(any(feature = "constraints", feature = "postgres", feature = "tls", feature = "workflow")))]
#![expect(clippy::unwrap_used, reason = "tests")]

use ork::{OrkBuilder, Registry, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Size {
    #[schemars(range(min = 1))]
    width: u32,
}

#[task]
fn resize(size: Size) -> u32 {
    size.width
}

async fn refused(builder: OrkBuilder) -> String {
    builder.build().await.unwrap_err().to_string()
}

#[tokio::test]
async fn missing_feature_is_named_with_the_command_that_adds_it() {
    let registry = || Registry::of([]).unwrap();
    for (store, broker, feature) in [
        ("postgres://me@127.0.0.1/jobs", "embedded", "postgres"),
        ("memory:", "amqps://127.0.0.1/", "tls"),
        ("memory:", "amqp://127.0.0.1/a,amqps://127.0.0.1/a", "tls"),
    ] {
        let error = refused(ork::builder().registry(registry()).store(store).broker(broker)).await;
        assert!(error.contains(&format!("`cargo add ork --features {feature}`")), "{error}");
    }
    let large = ork::builder().registry(registry()).store("memory:").set("large_outputs", "file:/tmp/outputs");
    let error = refused(large).await;
    assert!(error.contains("`cargo add ork --features object-store`"), "{error}");
}

#[tokio::test]
async fn input_with_a_constraint_is_refused_without_the_check() {
    let error = refused(ork::builder().store("memory:")).await;
    assert!(error.contains("the inputs of `resize`") && error.contains("`minimum`"), "{error}");
    assert!(error.contains("`cargo add ork --features constraints`"), "{error}");
}
