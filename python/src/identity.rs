//! User and tenant ids: text, integer or UUID, all as one canonical text.

use coulis::id::Identity;
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyInt, PyString, PyType},
};

use crate::{endings::Inside, errors::value_error, integers, lazy::Lazy};

static UUID: Lazy<PyType> = Lazy::new();

/// The identity that the argument `name` holds: `7` and `"7"` are the same one, `None` and `""` are none.
///
/// A bool or float is refused: `True` would be user 1, and `7.0` would be a second spelling of user 7.
pub(crate) fn identity(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Identity>> {
    match value {
        Some(value) if !value.is_none() => Ok(Identity::new(text(name, value)?)),
        _ => Ok(None),
    }
}

fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_str().map_err(|_| value_error(format!("`{name}` holds a lone surrogate")))?;
        return Ok(text.to_owned());
    }
    if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        return match value.extract::<i64>() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => integers::digits(value),
        };
    }
    if is_uuid(value)? {
        let _inside = Inside::enter()?;
        return value.str()?.extract();
    }
    let kind = value.get_type().name()?;
    Err(PyTypeError::new_err(format!("`{name}` is a `{kind}`: pass a str, an int or a UUID")))
}

/// Whether a value is a `uuid.UUID`.
pub(crate) fn is_uuid(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.is_instance(UUID.import(value.py(), "uuid", "UUID")?)
}
