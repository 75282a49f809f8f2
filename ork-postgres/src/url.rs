//! The URL of the database: parsed once, and never printed with its password.

use std::fmt;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use ork_ports::store::{StoreError, StoreErrorKind};

/// Settings of each session, whatever the defaults of the server are.
///
/// A process that was cut off from the network must not keep its locks: the server ends its transaction. No user code
/// runs between the statements of a transaction, so that even a busy process sends the next one in far less than two
/// seconds; if it does not, the transaction is repeated. The keep-alives cover a process that is cut off in the middle
/// of a statement.
const SETTINGS: [(&str, &str); 4] = [
    ("idle_in_transaction_session_timeout", "2s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
];

/// Planner settings of a session that only looks up keys. A table may be empty when a statement is planned, and have
/// millions of rows when the plan is used.
const KEYS_ONLY: [(&str, &str); 4] =
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("jit", "off")];

/// The address of the server, and the credentials. `Display` and `Debug` hide the password.
#[derive(Clone)]
pub(crate) struct Address(PgConnectOptions);

impl Address {
    /// Parses `postgres://user:password@host:port/database?sslmode=…` as libpq does. Missing parts have the same
    /// defaults as in libpq.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let expected = "expected `postgres://user:password@host:5432/database`";
        let wrong =
            |what: &str| StoreError::new(StoreErrorKind::Config, format!("the PostgreSQL URL {what}: {expected}"));
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(wrong("does not begin with `postgres://` or `postgresql://`"));
        }
        let hosts = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
        if hosts.rsplit('@').next().is_some_and(|hosts| hosts.contains(',')) {
            return Err(wrong("has several hosts, but must have one that always leads to the primary"));
        }
        // The error of the parser may quote the URL with its password, so it is not passed on.
        let options: PgConnectOptions = text.parse().map_err(|_words| wrong("is invalid"))?;
        let options = options.options(SETTINGS).disable_statement_logging();
        let must_encrypt =
            matches!(options.get_ssl_mode(), PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        if cfg!(not(feature = "tls")) && must_encrypt {
            let message = "this program was built without the feature `tls`, which this `sslmode` needs: add it with \
                           `cargo add ork --features tls`";
            return Err(StoreError::new(StoreErrorKind::Config, message));
        }
        Ok(Self(options))
    }

    /// Returns the options to connect with this application name, which the server shows to its administrators.
    pub(crate) fn options(&self, name: &str) -> PgConnectOptions {
        self.0.clone().application_name(name)
    }

    /// Returns the options of the connection that writes.
    pub(crate) fn writing(&self, name: &str) -> PgConnectOptions {
        self.options(name).options(KEYS_ONLY)
    }

    pub(crate) fn user(&self) -> &str {
        self.0.get_username()
    }

    /// Returns the name of the database, which defaults to the name of the user.
    pub(crate) fn database(&self) -> &str {
        self.0.get_database().unwrap_or_else(|| self.user())
    }

    /// Returns the host and port, or the folder of the socket.
    pub(crate) fn host(&self) -> String {
        match self.0.get_socket() {
            Some(folder) => folder.display().to_string(),
            None if self.0.get_host().contains(':') && !self.0.get_host().starts_with('[') => {
                format!("[{}]:{}", self.0.get_host(), self.0.get_port())
            }
            None => format!("{}:{}", self.0.get_host(), self.0.get_port()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}:***@{}/{}", self.user(), self.host(), self.database())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_printed() {
        let address = Address::parse("postgres://me:s3cret%2F@db.example:5433/jobs?sslmode=require").unwrap();
        assert_eq!(address.to_string(), "postgres://me:***@db.example:5433/jobs");
        assert_eq!(format!("{address:?}"), address.to_string());
    }

    #[test]
    fn an_invalid_url_is_not_quoted() {
        for text in [
            "postgres://me:s3cret@host:port/",
            "mysql://me:s3cret@host/db",
            "postgres://me:s3cret@host/db?sslmode=s3cret",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Config, "{text}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{text}: {error:?}");
        }
    }

    #[test]
    fn several_hosts_are_rejected_with_a_clear_message() {
        for text in
            ["postgres://me:s3cret@one,two/jobs", "postgresql://me:s3cret@one:1,two:2", "postgres://a,b?user=me"]
        {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains("has several hosts") && !error.contains("s3cret"), "{text}: {error}");
        }
        Address::parse("postgres://me:a%2Cb@one/jobs?options=-c%20search_path=a,b").unwrap();
    }

    #[test]
    fn unix_sockets_and_ipv6_hosts_are_displayed() {
        let socket = Address::parse("postgresql://me@%2Frun%2Fpostgresql/jobs").unwrap();
        assert_eq!(socket.to_string(), "postgres://me:***@/run/postgresql/jobs");
        let v6 = Address::parse("postgres://me@[::1]:5433").unwrap();
        assert_eq!(v6.host(), "[::1]:5433");
    }
}
