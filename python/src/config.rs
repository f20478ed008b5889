//! `EventBusConfig`: which carrier brings events from other processes.

use std::sync::Arc;

use coulis::{
    bus::{Bus, BusError},
    limits::Limits,
};
use coulis_adapters::feed::Sink;
use pyo3::{prelude::*, types::PyDict};

use crate::errors::value_error;

const REDIS_SCHEMES: [&str; 3] = ["redis://", "rediss://", "unix://"];
const POSTGRES_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Which event bus an executor uses. Made by `memory()`, `redis(...)` or `postgresql(...)`.
#[pyclass(frozen, eq, module = "coulis")]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EventBusConfig {
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Redis { url: String, consumer_group: String },
    Postgresql { connection_string: String },
}

#[pymethods]
impl EventBusConfig {
    /// Events stay in this process.
    #[staticmethod]
    pub(crate) fn memory() -> Self {
        Self { kind: Kind::Memory }
    }

    /// Events travel through Redis streams; `consumer_group` names the cluster. Connects to nothing yet.
    #[staticmethod]
    fn redis(url: String, consumer_group: String) -> PyResult<Self> {
        if !REDIS_SCHEMES.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
            return Err(value_error(
                "`url` is no Redis address: start it with redis://, rediss:// or unix://",
            ));
        }
        if consumer_group.trim().is_empty() {
            return Err(value_error("`consumer_group` is empty: name the cluster"));
        }
        Ok(Self { kind: Kind::Redis { url, consumer_group } })
    }

    /// Events travel through a PostgreSQL outbox table. Connects to nothing yet.
    #[staticmethod]
    fn postgresql(connection_string: String) -> PyResult<Self> {
        if !is_postgres(&connection_string) {
            return Err(value_error(
                "`connection_string` is no PostgreSQL address: pass postgresql://… or key=value pairs",
            ));
        }
        Ok(Self { kind: Kind::Postgresql { connection_string } })
    }

    /// `"memory"`, `"redis"` or `"postgresql"`.
    #[getter]
    pub(crate) fn bus_type(&self) -> &'static str {
        match self.kind {
            Kind::Memory => "memory",
            Kind::Redis { .. } => "redis",
            Kind::Postgresql { .. } => "postgresql",
        }
    }

    /// The settings of the bus by name, credentials included: do not log it.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let settings = PyDict::new(py);
        match &self.kind {
            Kind::Memory => {}
            Kind::Redis { url, consumer_group } => {
                settings.set_item("url", url)?;
                settings.set_item("consumer_group", consumer_group)?;
            }
            Kind::Postgresql { connection_string } => {
                settings.set_item("connection_string", connection_string)?;
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
    /// Whether events stay in this process.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.kind, Kind::Memory)
    }

    /// Connects a node; what comes goes to `sink`.
    pub(crate) fn start(&self, _limits: &Limits, _sink: Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError> {
        let reason = format!("the `{}` bus is not in this build", self.bus_type());
        Err(BusError { reason, transient: false, unknown: false })
    }
}

/// An address with a PostgreSQL scheme, or `key=value` pairs as libpq takes them.
fn is_postgres(text: &str) -> bool {
    if POSTGRES_SCHEMES.iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme)) {
        return true;
    }
    let keys = ["host=", "hostaddr=", "dbname=", "user=", "port=", "service="];
    !text.contains("://") && text.split_whitespace().any(|pair| keys.iter().any(|key| pair.starts_with(key)))
}
