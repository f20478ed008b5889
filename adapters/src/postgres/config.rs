//! What a bus over PostgreSQL can be told, and the checks of it.

use std::time::Duration;

use coulis::bus::BusError;
use tokio_postgres::config::{Config, Host, SslMode, TargetSessionAttrs};

/// Bytes of a schema's name; what is derived from it stays within the 63 of PostgreSQL.
const SCHEMA_BYTES_MAX: usize = 40;

const DAY: Duration = Duration::from_secs(86_400);
/// No wait is longer: PostgreSQL takes milliseconds in 31 bits, which are 24 days.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20 * DAY.as_secs());
/// 100 years: what is before that many from now is still a moment to PostgreSQL.
const RETENTION_MAX: Duration = Duration::from_secs(36_525 * DAY.as_secs());

/// How a bus reaches its database, and the bounds of what it does there.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// `postgres://…`, `postgresql://…` or `key=value …`. With several hosts, the one that can be written to is taken.
    ///
    /// `sslmode=require` and `verify-full` are the same here: the server's certificate is always verified. Without
    /// one, TLS is used where [`tls_ca`](Self::tls_ca) is given.
    pub connection_string: String,
    /// The same for the reader, which needs a session of its own: where `connection_string` leads to a pooler that
    /// gives sessions away with each transaction, this one leads past it.
    pub reader_connection_string: Option<String>,
    /// The schema of the bus: letters a–z, digits and `_`. Buses with the same one are one cluster.
    pub schema: String,
    /// Installs the schema, or brings it up to date, when the bus starts; `false`: it has to be there.
    pub migrate: bool,
    /// Certificates (PEM) of the authorities that vouch for the server, instead of those that the system trusts.
    pub tls_ca: Option<Vec<u8>>,
    /// How long events are kept at least; `None`: what the database says (1 day unless it was told otherwise).
    pub retention: Option<Duration>,
    /// How often a reader that sleeps looks by itself, in case that the doorbell is lost.
    pub poll_every: Duration,
    /// How often partitions are made and dropped.
    pub maintain_every: Duration,
    /// How long the server may take to answer; then the connection is given up.
    pub answer_max: Duration,
    /// How long a publisher waits at most.
    pub publish_wait_max: Duration,
    /// Events that wait to be sent.
    pub buffer_events_max: usize,
    /// Bytes of events that wait to be sent.
    pub buffer_bytes_max: usize,
    /// Events of one transaction, and of one answer to the reader.
    pub batch_events_max: usize,
    /// Bytes of events of one transaction, and of one answer to the reader; one event always fits.
    pub batch_bytes_max: usize,
    /// Events before now that a new reader begins with.
    pub history_events_max: usize,
}

impl PostgresConfig {
    /// The default settings for the database that `connection_string` names.
    pub fn new(connection_string: impl Into<String>) -> Self {
        Self {
            connection_string: connection_string.into(),
            reader_connection_string: None,
            schema: "coulis".into(),
            migrate: true,
            tls_ca: None,
            retention: None,
            poll_every: Duration::from_secs(1),
            maintain_every: Duration::from_secs(60),
            answer_max: Duration::from_secs(5),
            publish_wait_max: Duration::from_secs(5),
            buffer_events_max: 65_536,
            buffer_bytes_max: 64 << 20,
            batch_events_max: 512,
            batch_bytes_max: 8 << 20,
            history_events_max: 16_384,
        }
    }

    /// Refuses what can never work.
    ///
    /// # Errors
    /// Names the setting.
    pub fn check(&self) -> Result<(), BusError> {
        let start = self.schema.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        let rest = self.schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !start || !rest || self.schema.len() > SCHEMA_BYTES_MAX || self.schema.starts_with("pg_") {
            let schema = &self.schema;
            return Err(refused(format!(
                "schema `{schema}` is not a name of 1 to {SCHEMA_BYTES_MAX} characters a-z, 0-9 and `_`"
            )));
        }
        let counts = [
            ("buffer_events_max", self.buffer_events_max),
            ("buffer_bytes_max", self.buffer_bytes_max),
            ("batch_events_max", self.batch_events_max),
            ("batch_bytes_max", self.batch_bytes_max),
        ];
        let times = [
            ("poll_every", self.poll_every, WAIT_MAX),
            ("maintain_every", self.maintain_every, WAIT_MAX),
            ("answer_max", self.answer_max, WAIT_MAX),
            ("publish_wait_max", self.publish_wait_max, WAIT_MAX),
            ("retention", self.retention.unwrap_or(RETENTION_MAX), RETENTION_MAX),
        ];
        let idle = counts.iter().find(|(_, count)| *count == 0).map(|(name, _)| name);
        let idle = idle.or_else(|| times.iter().find(|(_, time, _)| time.is_zero()).map(|(name, ..)| name));
        if let Some(name) = idle {
            return Err(refused(format!("`{name}` is `0`: nothing would ever be done")));
        }
        match times.iter().find(|(_, time, most)| time > most) {
            Some((name, time, most)) => {
                let days = most.as_secs() / DAY.as_secs();
                Err(refused(format!("`{name}` is `{time:?}`: pass at most {days} days (`{most:?}`)")))
            }
            None => Ok(()),
        }
    }

    /// Where the writer connects to.
    pub(super) fn writer(&self) -> Result<Config, BusError> {
        self.parse(&self.connection_string)
    }

    /// Where the reader connects to.
    pub(super) fn reader(&self) -> Result<Config, BusError> {
        self.parse(self.reader_connection_string.as_ref().unwrap_or(&self.connection_string))
    }

    fn parse(&self, text: &str) -> Result<Config, BusError> {
        let text = text.replace("sslmode=verify-full", "sslmode=require");
        let text = text.replace("sslmode=verify-ca", "sslmode=require");
        let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| {
            // The text is not repeated: it may hold a password.
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            refused(format!(
                "not a connection string: {reason}: use `postgres://user@host/database` or `host=… dbname=…`"
            ))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refused("the connection string names no host: add `host=…`".into()));
        }
        self.choose_tls(&mut config)?;
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.connect_timeout(self.answer_max);
        if config.get_application_name().is_none() {
            config.application_name("coulis");
        }
        Ok(config)
    }

    /// TLS is used or not: it never depends on what a server, or who stands before it, says.
    fn choose_tls(&self, config: &mut Config) -> Result<(), BusError> {
        let local = config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_)));
        match (config.get_ssl_mode(), &self.tls_ca) {
            (SslMode::Disable, Some(_)) => Err(refused(
                "`sslmode=disable` and `tls_ca` contradict each other: leave one of them out".into(),
            )),
            (SslMode::Require, _) | (_, Some(_)) if local => {
                Err(refused("there is no TLS over a unix socket: name the host, or leave TLS out".into()))
            }
            (SslMode::Prefer, None) => {
                config.ssl_mode(SslMode::Disable);
                Ok(())
            }
            (SslMode::Prefer, Some(_)) => {
                config.ssl_mode(SslMode::Require);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Connection strings hold passwords.
        f.debug_struct("PostgresConfig").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// An error of what the bus was told.
pub(super) fn refused(reason: String) -> BusError {
    BusError { reason, transient: false, unknown: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_connection_string_is_read() {
        for text in [
            "postgres://u:p@localhost/db",
            "postgresql://u@localhost:5432/db?sslmode=require",
            "postgres://u@a,b/db?sslmode=verify-full",
            "host=localhost user=u dbname=db",
            "host=/tmp user=u",
        ] {
            PostgresConfig::new(text).writer().unwrap();
        }
    }

    #[test]
    fn what_can_never_work_is_refused_with_a_reason_and_without_passwords() {
        let config = |text: &str| PostgresConfig::new(text);
        let ca = |text: &str| PostgresConfig { tls_ca: Some(Vec::new()), ..config(text) };
        for (config, part) in [
            (config("postgres://u:secret@localhost/db?colour=red"), "colour"),
            (config("secret"), "not a connection string"),
            (config("user=u password=secret"), "names no host"),
            (ca("host=localhost user=u sslmode=disable"), "contradict"),
            (ca("host=/tmp user=u"), "unix socket"),
        ] {
            let error = config.writer().unwrap_err();
            assert!(error.reason.contains(part) && !error.reason.contains("secret"), "{error}");
            assert!(!error.transient);
        }
        for schema in ["", "Coulis", "a.b", "a b", "1a", "pg_a", &"a".repeat(41)] {
            let error = PostgresConfig { schema: schema.into(), ..config("host=h") }.check().unwrap_err();
            assert!(error.reason.contains(&format!("`{schema}`")), "{error}");
        }
        let error = PostgresConfig { batch_events_max: 0, ..config("host=h") }.check().unwrap_err();
        assert!(error.reason.contains("batch_events_max"), "{error}");
        let ever = Some(Duration::MAX);
        for (config, part) in [
            (PostgresConfig { poll_every: Duration::MAX, ..config("host=h") }, "`poll_every` is `184467"),
            (PostgresConfig { maintain_every: Duration::MAX, ..config("host=h") }, "`maintain_every`"),
            (PostgresConfig { answer_max: WAIT_MAX + DAY, ..config("host=h") }, "at most 20 days"),
            (PostgresConfig { publish_wait_max: Duration::MAX, ..config("host=h") }, "`publish_wait_max`"),
            (PostgresConfig { retention: ever, ..config("host=h") }, "at most 36525 days"),
        ] {
            let error = config.check().unwrap_err();
            assert!(error.reason.contains(part) && !error.transient, "{error}");
        }
        PostgresConfig::new("host=h").check().unwrap();
        assert!(!format!("{:?}", config("postgres://u:secret@h/d")).contains("secret"));
    }

    #[test]
    fn tls_is_used_or_not_whatever_the_server_says() {
        let mode = |text: &str, ca: Option<Vec<u8>>| {
            PostgresConfig { tls_ca: ca, ..PostgresConfig::new(text) }.writer().unwrap().get_ssl_mode()
        };
        assert_eq!(mode("host=h", None), SslMode::Disable);
        assert_eq!(mode("host=h", Some(Vec::new())), SslMode::Require);
        assert_eq!(mode("host=h sslmode=verify-full", None), SslMode::Require);
    }
}
