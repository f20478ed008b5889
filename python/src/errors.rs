//! The exceptions of the package, and how each error of the engine becomes one of them.

use coulis::error::{GraphQlError, LimitExceeded as Limit};
use pyo3::{
    create_exception,
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    types::{PyDict, PyList},
};

create_exception!(coulis, CoulisError, PyRuntimeError, "Everything that Coulis itself refuses or fails at.");
create_exception!(
    coulis,
    SubscriptionNotFound,
    CoulisError,
    "No subscription of this id, or it is completed."
);
create_exception!(
    coulis,
    AlreadyExists,
    CoulisError,
    "The connection has a subscription of this id already."
);
create_exception!(
    coulis,
    InvalidQuery,
    CoulisError,
    "The GraphQL document or its variables are not valid; `errors` lists why, as GraphQL shapes errors."
);
create_exception!(
    coulis,
    AuthorizationFailed,
    CoulisError,
    "The identity may not do this; `code` is a word for what, where a subscription is refused."
);
create_exception!(coulis, AuthenticationFailed, CoulisError, "The identity could not be established.");
create_exception!(
    coulis,
    LimitExceeded,
    CoulisError,
    "A bound was reached; `limit` names it, `asked` and `max` are in its unit."
);
create_exception!(coulis, RateLimited, CoulisError, "Too often: try again later.");
create_exception!(coulis, PolicyError, CoulisError, "A policy or filter that cannot be compiled or applied.");
create_exception!(coulis, BusError, CoulisError, "The event bus cannot be used.");
create_exception!(
    coulis,
    QueueFull,
    CoulisError,
    "No room for the event now: publish again, or wait for room."
);
create_exception!(coulis, EngineClosed, CoulisError, "The executor is closed.");

/// Gives errors the attributes that all of their kind have, whoever raises them.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<PolicyError>();
    class.setattr("line", py.None())?;
    class.setattr("column", py.None())?;
    let class = py.get_type::<BusError>();
    class.setattr("transient", false)?;
    class.setattr("unknown", false)
}

/// `LimitExceeded` with what it is about.
pub(crate) fn limit(py: Python<'_>, error: &Limit) -> PyErr {
    let raised = LimitExceeded::new_err(error.to_string());
    let value = raised.value(py);
    let told = value
        .setattr("limit", error.limit)
        .and_then(|()| value.setattr("asked", error.asked))
        .and_then(|()| value.setattr("max", error.max));
    told.err().unwrap_or(raised)
}

/// `AuthorizationFailed` with the word for what is not allowed.
pub(crate) fn forbidden(py: Python<'_>, code: &str, message: &str) -> PyErr {
    let raised = AuthorizationFailed::new_err(message.to_owned());
    let told = raised.value(py).setattr("code", code);
    told.err().unwrap_or(raised)
}

/// `BusError` with whether trying again may help, and whether the bus may have taken the event all the same.
pub(crate) fn bus_error(py: Python<'_>, error: &coulis::bus::BusError) -> PyErr {
    let raised = BusError::new_err(error.to_string());
    let value = raised.value(py);
    let told =
        value.setattr("transient", error.transient).and_then(|()| value.setattr("unknown", error.unknown));
    told.err().unwrap_or(raised)
}

/// `InvalidQuery` with the list of what is wrong.
pub(crate) fn invalid_query(py: Python<'_>, errors: &[GraphQlError]) -> PyErr {
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let raised = InvalidQuery::new_err(text);
    let told = graphql_errors(py, errors).and_then(|list| raised.value(py).setattr("errors", list));
    told.err().unwrap_or(raised)
}

/// Errors of a document as GraphQL shapes them: `message`, `locations` and `extensions.code`.
pub(crate) fn graphql_errors<'py>(py: Python<'py>, errors: &[GraphQlError]) -> PyResult<Bound<'py, PyList>> {
    let rows = errors.iter().map(|error| graphql_error(py, error)).collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, rows)
}

fn graphql_error<'py>(py: Python<'py>, error: &GraphQlError) -> PyResult<Bound<'py, PyDict>> {
    let locations = PyList::empty(py);
    for location in &error.locations {
        let place = PyDict::new(py);
        place.set_item("line", location.line)?;
        place.set_item("column", location.column)?;
        locations.append(place)?;
    }
    let extensions = PyDict::new(py);
    extensions.set_item("code", error.code)?;
    let row = PyDict::new(py);
    row.set_item("message", &error.message)?;
    row.set_item("locations", locations)?;
    row.set_item("extensions", extensions)?;
    Ok(row)
}

/// `ValueError` about an argument or a place in it.
pub(crate) fn value_error(message: impl Into<String>) -> PyErr {
    PyValueError::new_err(message.into())
}

/// Runs `work` without the interpreter's lock; a panic inside becomes `CoulisError`.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| guarded(work))
}

/// Runs work on a text of `bytes`: without the interpreter's lock where that is long. Whoever lets go of the lock for
/// a moment may wait for it as long as another thread likes to compute.
pub(crate) fn detached_if_long<T: Send>(
    py: Python<'_>,
    bytes: usize,
    work: impl FnOnce() -> T + Send,
) -> PyResult<T> {
    const LONG_BYTES: usize = 32 << 10;
    if bytes > LONG_BYTES { detached(py, work) } else { guarded(work) }
}

/// Runs `work`, which is too short to let go of the interpreter for; a panic inside becomes `CoulisError`.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> PyResult<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|_| internal())
}

/// Tells the log of a fault of the server that no caller can be told of.
pub(crate) fn log(py: Python<'_>, message: &str, error: &PyErr) {
    let logged = py.import("logging").and_then(|logging| {
        let options = PyDict::new(py);
        options.set_item("exc_info", error.value(py))?;
        logging.call_method1("getLogger", ("coulis",))?.call_method("error", (message,), Some(&options))
    });
    if logged.is_err() {
        error.clone_ref(py).write_unraisable(py, None);
    }
}

/// Tells the log `name` of what no caller can be told of.
pub(crate) fn complain(py: Python<'_>, name: &str, message: &str) {
    let logged = py
        .import("logging")
        .and_then(|logging| logging.call_method1("getLogger", (name,))?.call_method1("error", (message,)));
    if let Err(error) = logged {
        error.write_unraisable(py, None);
    }
}

/// The error for what cannot happen.
fn internal() -> PyErr {
    CoulisError::new_err("internal error: please report it with the lines on standard error")
}
