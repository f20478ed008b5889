//! Connecting an engine to the bus that an `EventBusConfig` names.

use std::time::Duration;

use coulis::{bus::BusError as Refused, engine::Engine};
use coulis_adapters::node::Node;
use pyo3::prelude::*;

use crate::{
    config::EventBusConfig,
    errors::{bus_error, detached},
};

/// How long an executor that starts waits for its bus; then it starts without, and follows when the bus is there.
const START_WAIT_MAX: Duration = Duration::from_secs(5);

/// Has `engine` follow the bus of `config`; `None` for events that stay in this process.
pub(crate) fn connect(py: Python<'_>, config: &EventBusConfig, engine: &Engine) -> PyResult<Option<Node>> {
    let Some(start) = config.carrier(engine.limits()) else { return Ok(None) };
    let wait_max = engine.limits().publish_wait_max;
    let node = detached(py, || {
        let node = Node::start(engine.clone(), wait_max, start)?;
        node.wait_ready(START_WAIT_MAX);
        Ok(node)
    })?;
    node.map(Some).map_err(|error: Refused| bus_error(py, &error))
}
