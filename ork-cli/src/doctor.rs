//! The command `doctor`: checks the configuration, the tasks, and the connections to store and broker.

use std::process::ExitCode;

use serde_json::json;

use super::{Failure, Output};
use ork_ports::broker::{BrokerError, BrokerErrorKind};
use ork_runtime::app::{BuildError, OrkBuilder};

/// The result of one check.
struct Finding {
    check: &'static str,
    is_ok: bool,
    message: String,
}

pub(super) async fn doctor(builder: OrkBuilder, output: &Output) -> Result<ExitCode, Failure> {
    let config = builder.resolve()?;
    let mut findings = Vec::new();
    match builder.tasks() {
        Ok(registry) if registry.is_empty() => {
            let message = "none: annotate a function with #[task], and reference its crate, e.g. `use my_tasks as _;`";
            findings.push(Finding { check: "tasks", is_ok: false, message: message.into() });
        }
        Ok(registry) => {
            findings.push(Finding { check: "tasks", is_ok: true, message: registry.names().join(", ") });
        }
        Err(error) => findings.push(Finding { check: "tasks", is_ok: false, message: error.to_string() }),
    }
    if findings.iter().all(|finding| finding.is_ok) {
        // Each check builds its own `Ork`, so that an error in one does not hide the result of another.
        if config.store != "none" {
            let alone = builder.clone().broker("embedded").set("large_outputs", "store");
            findings.push(store(alone).await);
            if config.large_outputs != "store" {
                findings.push(objects(builder.clone().broker("embedded")).await);
            }
        }
        if config.broker != "embedded" || config.store == "none" {
            findings.extend(broker(builder.set("large_outputs", "store")).await);
        }
    }
    let is_ok = findings.iter().all(|finding| finding.is_ok);
    if output.is_json() {
        let settings = config
            .entries()
            .map(|(key, value, source)| json!({"key": key, "value": value, "source": source.to_string()}));
        let found = findings
            .iter()
            .map(|finding| json!({"name": finding.check, "ok": finding.is_ok, "message": finding.message}));
        output.json(&json!({
            "ok": is_ok,
            "settings": settings.collect::<Vec<_>>(),
            "checks": found.collect::<Vec<_>>(),
        }));
    } else {
        let row = |(key, value, source): (&str, String, ork_runtime::config::Source)| {
            let value = if value.is_empty() { "auto".to_owned() } else { value };
            vec![key.to_owned(), value, source.to_string()]
        };
        output.table(&["setting", "value", "source"], config.entries().map(row));
        output.line("");
        for finding in &findings {
            output.line(format!(
                "{} {}: {}",
                if finding.is_ok { "ok  " } else { "FAIL" },
                finding.check,
                finding.message
            ));
        }
    }
    Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

async fn store(builder: OrkBuilder) -> Finding {
    let found = async {
        let ork = builder.build().await.map_err(|error| chain(&error))?;
        let found = ork.store().check().await.map_err(|error| chain(&error));
        let ahead = ork.clock_ahead();
        ork.shutdown().await;
        found.map(|message| message + &clock_difference(ahead))
    };
    finding("store", found.await)
}

/// Reports the difference between the clocks of this computer and of the store, if it is 2 s or more.
fn clock_difference(ahead: i64) -> String {
    let seconds = ork_core::clock::shared::seconds(ahead);
    if seconds < 2 {
        return String::new();
    }
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    format!(
        "; this computer's clock is {seconds} s {way} the store's clock, which ork uses: correct this computer's clock"
    )
}

async fn objects(builder: OrkBuilder) -> Finding {
    let found = async {
        let ork = builder.build().await.map_err(|error| chain(&error))?;
        let found = match ork.large_outputs() {
            Some(objects) => objects.check().await.map_err(|error| chain(&error)),
            None => Ok("in the store".to_owned()),
        };
        ork.shutdown().await;
        found
    };
    finding("large outputs", found.await)
}

/// Checks whether the broker can be used and, if so, whether its policies drop messages.
async fn broker(builder: OrkBuilder) -> Vec<Finding> {
    let ork = match builder.build().await {
        Ok(ork) => ork,
        Err(BuildError::Broker(error)) => return vec![finding("broker", Err(with_advice(&error)))],
        Err(error) => return vec![finding("broker", Err(chain(&error)))],
    };
    let broker = ork.broker();
    let mut findings = vec![finding("broker", broker.check().await.map_err(|error| with_advice(&error)))];
    if findings.iter().all(|finding| finding.is_ok) {
        findings.extend(policies(broker.hazards().await));
    }
    ork.shutdown().await;
    findings
}

/// Reports what the policies of a broker do to messages; `None` for a broker without policies.
fn policies(hazards: Result<Option<Vec<String>>, String>) -> Option<Finding> {
    let (is_ok, message) = match hazards {
        Ok(None) => return None,
        Ok(Some(hazards)) if hazards.is_empty() => (
            true,
            "no existing queue drops messages by a policy or by its arguments, as of some seconds ago".to_owned(),
        ),
        Ok(Some(hazards)) => {
            let advice = "ork resends dropped messages only after minutes: do not apply such policies to its queues";
            (false, format!("{}; {advice}", hazards.join("; ")))
        }
        Err(why) => {
            let advice =
                "set ORK_MANAGEMENT, or check `rabbitmqctl list_policies` for `message-ttl`, `expires`, `max-length`";
            (true, format!("not checked: {why}; {advice}"))
        }
    };
    Some(Finding { check: "policies", is_ok, message })
}

fn finding(check: &'static str, found: Result<String, String>) -> Finding {
    match found {
        Ok(message) => Finding { check, is_ok: true, message },
        Err(message) => Finding { check, is_ok: false, message },
    }
}

/// Formats an error of the broker, with advice.
fn with_advice(error: &BrokerError) -> String {
    // The error of a URL that needs another feature says itself what to do.
    let explained = error.to_string().contains("cargo add ork");
    let advice = match error.kind() {
        BrokerErrorKind::Config if explained => return chain(error),
        BrokerErrorKind::Disconnected | BrokerErrorKind::TimedOut => {
            "start RabbitMQ there, set ORK_BROKER to its address, or unset it to run embedded"
        }
        BrokerErrorKind::Refused => "check the user, the password and the virtual host in ORK_BROKER",
        BrokerErrorKind::Config => "write ORK_BROKER as amqp://user:password@host:5672/vhost",
        BrokerErrorKind::Undeliverable
        | BrokerErrorKind::TooLarge
        | BrokerErrorKind::Closed
        | BrokerErrorKind::Protocol => "see the log of RabbitMQ",
    };
    format!("{}; {advice}", chain(error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
