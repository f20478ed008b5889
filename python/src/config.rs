//! `EventBusConfig`: which carrier brings events from other processes, and the settings of its bus.

use std::{path::PathBuf, sync::Arc, time::Duration};

use coulis::{
    bus::{Bus, BusError},
    limits::Limits,
};
use coulis_adapters::{
    feed::Sink,
    postgres::{PostgresBus, PostgresConfig},
    redis::{Mode, RedisBus, RedisConfig},
};
use pyo3::{prelude::*, types::PyDict};

use crate::{
    errors::value_error,
    settings::{count, pairs, seconds, text, unknown},
};

const REDIS_SCHEMES: [&str; 4] = ["redis://", "rediss://", "unix://", "redis+unix://"];
const POSTGRES_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Which event bus an executor uses. Made by `memory()`, `redis(...)` or `postgresql(...)`.
#[pyclass(frozen, eq, module = "coulis")]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EventBusConfig {
    kind: Kind,
    /// How long an executor that starts waits for its bus; then it starts without, and follows when the bus is there.
    pub(crate) start_wait_max: Duration,
}

/// Of `start_wait_max`.
const START_WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Redis(Box<RedisConfig>),
    Postgresql(Box<PostgresConfig>),
}

/// Sets each named field of a configuration: counts, seconds, and what else there is.
macro_rules! options {
    ($config:ident, $options:ident: counts $($count:ident)+; seconds $($second:ident)+; $($name:literal => |$value:ident| $set:expr),+) => {
        for (name, value) in pairs("options", $options)? {
            match name.as_str() {
                _ if value.is_none() => {}
                $(stringify!($count) => $config.$count = count(&name, &value)?,)+
                $(stringify!($second) => $config.$second = seconds(&name, &value)?,)+
                $($name => { let $value = &value; $set })+
                _ => return Err(unknown("an option", &name)),
            }
        }
    };
}

/// Connects a node to a bus, whose events come to the sink.
pub(crate) type Start = Box<dyn FnOnce(Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError> + Send>;

#[pymethods]
impl EventBusConfig {
    /// Events stay in this process.
    #[staticmethod]
    pub(crate) fn memory() -> Self {
        Self { kind: Kind::Memory, start_wait_max: Duration::ZERO }
    }

    /// Events travel through Redis; `consumer_group` names the cluster, and its keys begin with it. Connects to nothing
    /// yet.
    ///
    /// Options: `mode` (`"streams"`, or `"pubsub"` without a history), `tls_ca`, `tls_certificate` and `tls_key` (paths
    /// of PEM files), in seconds `start_wait_max` (how long an executor that
    /// starts waits for the server), `publish_wait_max`, `answer_wait_max`, `block_max` and `id_age_max`, and the counts
    /// `stream_events_max`, `history_events_max`, `buffer_events_max`, `buffer_bytes_max`, `batch_events_max` and
    /// `batch_bytes_max`.
    #[staticmethod]
    #[pyo3(signature = (url, consumer_group, **options))]
    fn redis(url: String, consumer_group: String, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        if !REDIS_SCHEMES.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
            return Err(value_error(
                "`url` is no Redis address: start it with redis://, rediss:// or unix://",
            ));
        }
        if consumer_group.trim().is_empty() {
            return Err(value_error("`consumer_group` is empty: name the cluster"));
        }
        let mut config = RedisConfig::new(url, consumer_group);
        let (mut certificate, mut key) = (None, None);
        let mut start_wait_max = START_WAIT_MAX;
        let options = options.map(Bound::as_any);
        options!(config, options:
            counts stream_events_max history_events_max buffer_events_max buffer_bytes_max batch_events_max
                batch_bytes_max;
            seconds publish_wait_max answer_wait_max block_max id_age_max;
            "start_wait_max" => |value| start_wait_max = seconds("start_wait_max", value)?,
            "mode" => |value| config.mode = mode(&text("mode", value)?)?,
            "tls_ca" => |value| config.tls_ca = Some(path("tls_ca", value)?),
            "tls_certificate" => |value| certificate = Some(path("tls_certificate", value)?),
            "tls_key" => |value| key = Some(path("tls_key", value)?)
        );
        config.tls_identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(value_error("`tls_certificate` and `tls_key` go together: pass both or none")),
        };
        config.check().map_err(|error| value_error(error.to_string()))?;
        Ok(Self { kind: Kind::Redis(Box::new(config)), start_wait_max })
    }

    /// Events travel through a PostgreSQL outbox table. Connects to nothing yet.
    ///
    /// Options: `schema` (of the bus's tables, `"coulis"`), `migrate` (whether to install them), `tls_ca` (path of a PEM
    /// file), `reader_connection_string` (past a pooler), in seconds `start_wait_max` (how long an executor that starts
    /// waits for the server), `retention`, `poll_every`, `maintain_every`, `answer_max` and `publish_wait_max`, and the counts `history_events_max`, `buffer_events_max`, `buffer_bytes_max`,
    /// `batch_events_max` and `batch_bytes_max`.
    #[staticmethod]
    #[pyo3(signature = (connection_string, **options))]
    fn postgresql(connection_string: String, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        if !is_postgres(&connection_string) {
            return Err(value_error(
                "`connection_string` is no PostgreSQL address: pass postgresql://… or key=value pairs",
            ));
        }
        let mut config = PostgresConfig::new(connection_string);
        let mut start_wait_max = START_WAIT_MAX;
        let options = options.map(Bound::as_any);
        options!(config, options:
            counts history_events_max buffer_events_max buffer_bytes_max batch_events_max batch_bytes_max;
            seconds poll_every maintain_every answer_max publish_wait_max;
            "start_wait_max" => |value| start_wait_max = seconds("start_wait_max", value)?,
            "retention" => |value| config.retention = Some(seconds("retention", value)?),
            "schema" => |value| config.schema = text("schema", value)?,
            "migrate" => |value| config.migrate = value.extract()?,
            "reader_connection_string" => |value| {
                config.reader_connection_string = Some(text("reader_connection_string", value)?);
            },
            "tls_ca" => |value| config.tls_ca = Some(file("tls_ca", value)?)
        );
        config.check().map_err(|error| value_error(error.to_string()))?;
        Ok(Self { kind: Kind::Postgresql(Box::new(config)), start_wait_max })
    }

    /// `"memory"`, `"redis"` or `"postgresql"`.
    #[getter]
    pub(crate) fn bus_type(&self) -> &'static str {
        match self.kind {
            Kind::Memory => "memory",
            Kind::Redis(_) => "redis",
            Kind::Postgresql(_) => "postgresql",
        }
    }

    /// The address of the bus by name, credentials included: do not log it.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let settings = PyDict::new(py);
        match &self.kind {
            Kind::Memory => {}
            Kind::Redis(config) => {
                settings.set_item("url", &config.url)?;
                settings.set_item("consumer_group", &config.prefix)?;
            }
            Kind::Postgresql(config) => {
                settings.set_item("connection_string", &config.connection_string)?;
            }
        }
        Ok(settings)
    }

    // Says the kind only: addresses hold passwords, and a representation ends up in logs.
    fn __repr__(&self) -> String {
        format!("EventBusConfig.{}(...)", self.bus_type())
    }
}

impl EventBusConfig {
    /// What connects a node to the bus; `None`: events stay in this process.
    pub(crate) fn carrier(&self, limits: &Limits) -> Option<Start> {
        let limits = limits.clone();
        match &self.kind {
            Kind::Memory => None,
            Kind::Redis(config) => {
                let config = (**config).clone();
                Some(Box::new(move |sink| Ok(Arc::new(RedisBus::start(config, limits, sink)?))))
            }
            Kind::Postgresql(config) => {
                let config = (**config).clone();
                Some(Box::new(move |sink| Ok(Arc::new(PostgresBus::start(config, limits, sink)?))))
            }
        }
    }
}

fn mode(text: &str) -> PyResult<Mode> {
    match text {
        "streams" => Ok(Mode::Streams),
        "pubsub" => Ok(Mode::PubSub),
        other => {
            let other: String = other.chars().take(64).collect();
            Err(value_error(format!("`mode` is `{other}`: pass \"streams\" or \"pubsub\"")))
        }
    }
}

fn path(name: &str, value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    value.extract().map_err(|_| value_error(format!("`{name}` is no path")))
}

fn file(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let path = path(name, value)?;
    std::fs::read(&path).map_err(|error| value_error(format!("`{name}`: {}: {error}", path.display())))
}

/// An address with a PostgreSQL scheme, or `key=value` pairs as libpq takes them.
fn is_postgres(text: &str) -> bool {
    if POSTGRES_SCHEMES.iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme)) {
        return true;
    }
    let keys = ["host=", "hostaddr=", "dbname=", "user=", "port=", "service="];
    !text.contains("://") && text.split_whitespace().any(|pair| keys.iter().any(|key| pair.starts_with(key)))
}
