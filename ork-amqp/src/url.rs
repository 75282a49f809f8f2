//! The addresses of the broker: parsed once, and always printed without their passwords.

use std::fmt;

use lapin::uri::{AMQPScheme, AMQPUri};

use ork_ports::broker::{BrokerError, BrokerErrorKind, urls};

/// Seconds between heartbeats if the URL does not set it: a dead peer is noticed within twice this time, on both
/// sides. RabbitMQ recommends at least five seconds: a process that is busy for a moment must not be presumed dead.
const HEARTBEAT: u16 = 10;

/// The address of a RabbitMQ node, with the login. `Display` and `Debug` hide the password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address(AMQPUri);

impl Address {
    /// Parses `amqp://user:password@host:port/vhost` or `amqps://…`.
    ///
    /// A missing or empty vhost is `/`, and `heartbeat` is on unless the URL disables it.
    pub(super) fn parse(text: &str) -> Result<Self, BrokerError> {
        let wrong = |what: &str| {
            BrokerError::new(
                BrokerErrorKind::Config,
                format!("the RabbitMQ URL {what}: expected `amqp://user:password@host:port/vhost` or `amqps://…`"),
            )
        };
        let rest = text
            .strip_prefix("amqp://")
            .or_else(|| text.strip_prefix("amqps://"))
            .ok_or_else(|| wrong("does not begin with `amqp://` or `amqps://`"))?;
        if cfg!(not(feature = "tls")) && text.starts_with("amqps://") {
            let message = "this program was built without the feature `tls`, which `amqps://` URLs need: add it with \
                           `cargo add ork --features tls`";
            return Err(BrokerError::new(BrokerErrorKind::Config, message));
        }
        // The parser's error message may quote the URL including the password, so it is not passed on.
        let mut uri: AMQPUri = text.parse().map_err(|_words| wrong("is invalid"))?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        if let Some(v6) = host.strip_prefix('[').and_then(|host| host.split(']').next()) {
            // The parser accepts only host names, and would use localhost in place of an IPv6 address.
            v6.clone_into(&mut uri.authority.host);
        }
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(Self(uri))
    }

    pub(super) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }

    pub(super) fn user(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    pub(super) fn vhost(&self) -> &str {
        &self.0.vhost
    }

    /// Returns host and port, for checking what listens there.
    pub(super) fn socket(&self) -> (&str, u16) {
        (&self.0.authority.host, self.0.authority.port)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.0.scheme == AMQPScheme::AMQPS
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = self.socket();
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        let vhost = self.vhost().strip_prefix('/').unwrap_or(self.vhost());
        write!(f, "{}://{}:***@{open}{host}{close}:{port}/{vhost}", self.0.scheme, self.user())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The nodes of one RabbitMQ, in the order in which they are tried; never empty.
#[derive(Debug, Clone)]
pub(super) struct Addresses(Vec<Address>);

impl Addresses {
    /// Parses one URL, or several separated by commas.
    pub(super) fn parse(text: &str) -> Result<Self, BrokerError> {
        urls(text).iter().map(|url| Address::parse(url.trim_end())).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn as_slice(&self) -> &[Address] {
        &self.0
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if n > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_never_printed() {
        let address = Address::parse("amqp://me:s3cret%2F@rabbit.example:5671/jobs?heartbeat=7").unwrap();
        assert_eq!(address.to_string(), "amqp://me:***@rabbit.example:5671/jobs");
        assert_eq!(format!("{address:?}"), address.to_string());
        assert_eq!(address.uri().authority.userinfo.password, "s3cret/");
    }

    #[test]
    fn error_for_a_malformed_url_does_not_quote_it() {
        for text in [
            "amqp://me:s3cret@host:port/",
            "http://me:s3cret@host",
            "amqp:s3cret",
            "me:s3cret@host",
            "amqp://me:s3cret@ho st",
            "amqp://me:s3cret@host?heartbeat=s3cret",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.kind(), BrokerErrorKind::Config, "{text}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{text}: {error:?}");
        }
    }

    #[test]
    fn node_urls_are_separated_by_commas() {
        let both = Addresses::parse("amqp://me:a,b@one/v, amqps://me:s3cret@two:7/v").unwrap();
        assert_eq!(both.to_string(), "amqp://me:***@one:5672/v, amqps://me:***@two:7/v");
        assert_eq!(both.as_slice()[0].uri().authority.userinfo.password, "a,b");
        let error = Addresses::parse("amqp://me:s3cret@one,amqp://me:s3cret@ho st").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn missing_url_parts_have_defaults() {
        let address = Address::parse("amqps://rabbit.example/").unwrap();
        assert_eq!(address.to_string(), "amqps://guest:***@rabbit.example:5671/");
        assert_eq!((address.vhost(), address.is_encrypted()), ("/", true));
        assert_eq!(address.uri().query.heartbeat, Some(HEARTBEAT));
        let v6 = Address::parse("amqp://u:p@[::1]:5673").unwrap();
        assert_eq!(v6.socket(), ("::1", 5673));
        assert_eq!(v6.to_string(), "amqp://u:***@[::1]:5673/");
    }
}
