//! Connecting an engine to the bus that an `EventBusConfig` names.

use coulis::{bus::BusError as Refused, engine::Engine};
use coulis_adapters::node::Node;
use pyo3::prelude::*;

use crate::{
    config::EventBusConfig,
    errors::{bus_error, detached, value_error},
};

/// The SQL that installs what the PostgreSQL bus needs in `schema`, or brings it up to date; safe to run again.
#[pyfunction]
#[pyo3(signature = (schema="coulis"))]
pub(crate) fn postgres_migrations(schema: &str) -> PyResult<String> {
    coulis_adapters::postgres::migrations(schema).map_err(|error| value_error(error.to_string()))
}

/// Has `engine` follow the bus of `config`; `None` for events that stay in this process.
pub(crate) fn connect(py: Python<'_>, config: &EventBusConfig, engine: &Engine) -> PyResult<Option<Node>> {
    let Some(start) = config.carrier(engine.limits()) else { return Ok(None) };
    let wait_max = engine.limits().publish_wait_max;
    let node = detached(py, || {
        let node = Node::start(engine.clone(), wait_max, start)?;
        node.wait_ready(config.start_wait_max);
        Ok(node)
    })?;
    node.map(Some).map_err(|error: Refused| bus_error(py, &error))
}
