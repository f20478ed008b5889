//! Points in time and spans of it between Python and nanoseconds, exactly.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyType},
};

use crate::lazy::{Lazy, intern};

const DAY_SECONDS: i128 = 86_400;
const NANOS: i128 = 1_000_000_000;

static DATETIME: Lazy<PyType> = Lazy::new();
static TIMEDELTA: Lazy<PyType> = Lazy::new();
static EPOCH: Lazy<PyAny> = Lazy::new();

/// A `datetime` without a time zone, which is no moment.
#[derive(Debug)]
pub(crate) struct Naive;

/// Nanoseconds since 1970; `None` for what is no `datetime`.
pub(crate) fn moment(value: &Bound<'_, PyAny>) -> PyResult<Option<Result<i128, Naive>>> {
    let py = value.py();
    if !value.is_instance(DATETIME.import(py, "datetime", "datetime")?)? {
        return Ok(None);
    }
    if value.call_method0(intern!(py, "utcoffset"))?.is_none() {
        return Ok(Some(Err(Naive)));
    }
    match span(&value.sub(epoch(py)?)?)? {
        Some(nanos) => Ok(Some(Ok(nanos))),
        None => Err(PyTypeError::new_err("a difference of datetimes is no timedelta")),
    }
}

/// Nanoseconds of a `timedelta`, `None` for what is none.
pub(crate) fn span(value: &Bound<'_, PyAny>) -> PyResult<Option<i128>> {
    let py = value.py();
    if !value.is_instance(TIMEDELTA.import(py, "datetime", "timedelta")?)? {
        return Ok(None);
    }
    let part = |name| value.getattr(name)?.extract::<i64>().map(i128::from);
    let days = part(intern!(py, "days"))?;
    let seconds = part(intern!(py, "seconds"))?;
    let micros = part(intern!(py, "microseconds"))?;
    Ok(Some((days * DAY_SECONDS + seconds) * NANOS + micros * 1_000))
}

/// The `datetime` in UTC that is so many nanoseconds after 1970; what is finer than microseconds is cut off.
pub(crate) fn datetime(py: Python<'_>, nanos: i128) -> PyResult<Bound<'_, PyAny>> {
    epoch(py)?.add(delta(py, nanos.div_euclid(1_000))?)
}

/// The `timedelta` of so many nanoseconds; what is finer than microseconds is cut off.
pub(crate) fn timedelta(py: Python<'_>, nanos: i128) -> PyResult<Bound<'_, PyAny>> {
    delta(py, nanos / 1_000)
}

fn delta(py: Python<'_>, micros: i128) -> PyResult<Bound<'_, PyAny>> {
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let parts = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS), micros);
    TIMEDELTA.import(py, "datetime", "timedelta")?.call1(parts)
}

fn epoch(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    if let Some(epoch) = EPOCH.get(py) {
        return Ok(epoch);
    }
    let utc = py.import("datetime")?.getattr("timezone")?.getattr("utc")?;
    let options = PyDict::new(py);
    options.set_item("tzinfo", utc)?;
    let class = DATETIME.import(py, "datetime", "datetime")?;
    Ok(EPOCH.keep(py, class.call((1970, 1, 1), Some(&options))?.unbind()))
}
