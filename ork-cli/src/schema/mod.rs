//! The commands below `schema`: describe the inputs and outputs of the tasks for programs in other languages.

#[cfg(feature = "workflow")]
mod compare;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value;

use super::{Failure, Output};
use ork_runtime::config::Config;
use ork_runtime::registry::Registry;
use ork_runtime::schema::{self, Wire};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Export the schemas of all tasks
    Export(Export),
    /// Print the schemas of one task
    Show(Show),
    /// Report whether a schema change breaks queued messages, clients or workflows; fail if it does
    #[cfg(feature = "workflow")]
    Diff(compare::Diff),
    /// Fail unless a file matches the schemas of this program, and report what the difference breaks
    #[cfg(feature = "workflow")]
    Check(compare::Check),
}

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    form: Form,
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The name of the task
    task: String,
    #[command(flatten)]
    form: Form,
}

/// The format of the document, and the metadata of an `AsyncAPI` document.
#[derive(Debug, clap::Args)]
struct Form {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Title of the `AsyncAPI` document
    #[arg(long, default_value = "Tasks")]
    title: String,
    /// API version in the `AsyncAPI` document
    #[arg(long, default_value = "1.0.0", value_name = "VERSION")]
    api_version: String,
    /// RabbitMQ server in the `AsyncAPI` document (default: `amqp://localhost:5672`)
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// JSON Schema 2020-12
    Json,
    /// JSON Schema 2020-12, as YAML
    Yaml,
    /// JSON Schema draft 7, which more tools support
    Draft7,
    /// `AsyncAPI` 3.0, as JSON
    Asyncapi,
    /// `AsyncAPI` 3.0, as YAML
    AsyncapiYaml,
}

pub(super) fn schema(
    registry: &Registry,
    config: &Config,
    command: Command,
    output: &Output,
) -> Result<ExitCode, Failure> {
    match command {
        #[cfg(feature = "workflow")]
        Command::Diff(args) => return compare::diff(registry, &args, output),
        #[cfg(feature = "workflow")]
        Command::Check(args) => return compare::check(registry, &args, output),
        Command::Export(Export { form, output: file }) => {
            let bundle = schema::bundle(registry.tasks());
            warn_of_namesakes(&bundle, output);
            let text = form.write(&bundle, config)?;
            match file {
                None => output.raw(text.as_bytes()),
                Some(path) => std::fs::write(&path, text).map_err(|error| {
                    Failure::user(format!("the schemas cannot be written to {}: {error}", path.display()))
                })?,
            }
        }
        Command::Show(Show { task, form }) => {
            let bundle = schema::bundle([&**registry.get(&task)?]);
            warn_of_namesakes(&bundle, output);
            output.raw(form.write(&bundle, config)?.as_bytes());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Warns about types whose names got a number because another type has the same name: that number may change.
fn warn_of_namesakes(bundle: &Value, output: &Output) {
    for (first, second) in schema::namesakes(bundle) {
        output.note(format!(
            "`{second}` may be a second type named `{first}`: if so, rename one with #[schemars(rename = \"..\")], \
             because the number may change when another type of that name is added"
        ));
    }
}

impl Form {
    fn write(&self, bundle: &Value, config: &Config) -> Result<String, Failure> {
        let asyncapi = || Ok::<_, Failure>(schema::asyncapi(bundle, &self.wire(config)?));
        Ok(match self.format {
            Format::Json => pretty(bundle),
            Format::Draft7 => pretty(&schema::draft7(bundle)),
            Format::Yaml => schema::yaml(bundle),
            Format::Asyncapi => pretty(&asyncapi()?),
            Format::AsyncapiYaml => schema::yaml(&asyncapi()?),
        })
    }

    /// Returns the title, the name prefix and the server for the `AsyncAPI` document.
    fn wire(&self, config: &Config) -> Result<Wire, Failure> {
        let wire = Wire {
            title: self.title.clone(),
            version: self.api_version.clone(),
            prefix: config.prefix.clone(),
            ..Wire::default()
        };
        match &self.server {
            Some(server) => at(wire, server),
            None => Ok(wire),
        }
    }
}

/// Sets the server of a document, given as `amqp://host:port/vhost`.
fn at(wire: Wire, server: &str) -> Result<Wire, Failure> {
    // Checked first, because other errors quote the text, and this one may contain a password.
    if server.contains('@') {
        let message = "the server URL contains a user: the document must not contain credentials";
        return Err(Failure::user(message).hint("remove the part before the `@`"));
    }
    let wrong =
        || Failure::user(format!("invalid server `{server}`: expected `amqp://HOST:PORT/VHOST` or `amqps://..`"));
    let (scheme, rest) = server.split_once("://").ok_or_else(wrong)?;
    let (host, vhost) = rest.split_once('/').unwrap_or((rest, ""));
    let encrypted = match scheme {
        "amqp" => false,
        "amqps" => true,
        _ => return Err(wrong()),
    };
    if host.is_empty() {
        return Err(wrong());
    }
    let vhost = if vhost.is_empty() { wire.vhost } else { vhost.replace("%2f", "/").replace("%2F", "/") };
    Ok(Wire { host: host.to_owned(), encrypted, vhost, ..wire })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
