//! JSON text to Python values, as `json.loads` reads it: integers of any size stay exact.

use coulis::{
    limits::Limits,
    value::{Document, Kind, Node, Value},
};
use pyo3::{
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyList, PyString},
};

use crate::{errors::value_error, integers};

/// The value that a JSON text stands for; duplicate keys, lone surrogates and deep nesting are `ValueError`.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub(crate) fn from_json<'py>(py: Python<'py>, text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let bytes = json_bytes("text", text)?
        .ok_or_else(|| pyo3::exceptions::PyTypeError::new_err("`text` is no JSON text: pass str or bytes"))?;
    let document = Document::parse_bytes(bytes, Limits::default().event_depth_max)
        .map_err(|error| value_error(format!("`text` is refused: {error}")))?;
    node(py, document.root())
}

/// The bytes of an argument that is JSON text already: `str` or `bytes`. `None` for other types.
pub(crate) fn json_bytes(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    if let Ok(bytes) = value.cast::<pyo3::types::PyBytes>() {
        return Ok(Some(bytes.as_bytes().to_vec()));
    }
    let Ok(text) = value.cast::<PyString>() else { return Ok(None) };
    let text = text.to_str().map_err(|_| value_error(format!("`{name}` holds a lone surrogate")))?;
    Ok(Some(text.as_bytes().to_vec()))
}

/// A value of a document. Recursion is bounded by the depth that the document was read with.
pub(crate) fn node<'py>(py: Python<'py>, node: Node<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match node.kind() {
        Kind::Null => py.None().into_bound(py),
        Kind::True => PyBool::new(py, true).to_owned().into_any(),
        Kind::False => PyBool::new(py, false).to_owned().into_any(),
        Kind::Integer => integers::integer(py, node.raw())?,
        Kind::Float => PyFloat::new(py, node.as_f64().unwrap_or(f64::NAN)).into_any(),
        Kind::String => PyString::new(py, &node.as_str().unwrap_or_default()).into_any(),
        Kind::Array => {
            let list = PyList::empty(py);
            for item in node.items().into_iter().flatten() {
                list.append(self::node(py, item)?)?;
            }
            list.into_any()
        }
        Kind::Object => {
            let dict = PyDict::new(py);
            for (key, value) in node.entries().into_iter().flatten() {
                dict.set_item(&*key.as_str().unwrap_or_default(), self::node(py, value)?)?;
            }
            dict.into_any()
        }
    })
}

/// A value of the engine's small tree. Recursion is bounded by the depth that the tree was read with.
pub(crate) fn tree<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
        Value::Int(number) => number.into_pyobject(py)?.into_any(),
        Value::Float(number) => PyFloat::new(py, *number).into_any(),
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::List(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(tree(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(entries) => {
            let dict = PyDict::new(py);
            for (key, value) in entries {
                dict.set_item(key, tree(py, value)?)?;
            }
            dict.into_any()
        }
    })
}
