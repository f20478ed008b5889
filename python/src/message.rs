//! `PyGraphQLMessage`: one message of graphql-transport-ws as an object.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyString},
};

use crate::errors::value_error;

/// One message of graphql-transport-ws. The payload is whatever the type says: `error` carries a list.
#[pyclass(frozen, module = "coulis")]
#[derive(Debug)]
pub(crate) struct PyGraphQLMessage {
    /// The message's `type`.
    #[pyo3(get)]
    type_: String,
    /// The operation's id, for the types that have one.
    #[pyo3(get)]
    id: Option<String>,
    /// Absent and `None` are told apart, so that `to_dict` gives back what `from_dict` took.
    payload: Option<Py<PyAny>>,
}

#[pymethods]
impl PyGraphQLMessage {
    /// Reads a message that was decoded from JSON; keys that the protocol does not know are left out.
    #[staticmethod]
    fn from_dict(data: &Bound<'_, PyDict>) -> PyResult<Self> {
        let kind = data
            .get_item("type")?
            .ok_or_else(|| value_error("`type` is missing: each message names its type"))?;
        let id = match data.get_item("id")? {
            Some(id) if !id.is_none() => Some(text("id", &id)?),
            _ => None,
        };
        let payload = data.get_item("payload")?.map(Bound::unbind);
        Ok(Self { type_: text("type", &kind)?, id, payload })
    }

    /// The payload, or `None`.
    #[getter]
    fn payload(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.payload.as_ref().map(|payload| payload.clone_ref(py))
    }

    /// The message as it goes into JSON; absent parts stay absent.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let message = PyDict::new(py);
        message.set_item("type", &self.type_)?;
        if let Some(id) = &self.id {
            message.set_item("id", id)?;
        }
        if let Some(payload) = &self.payload {
            message.set_item("payload", payload)?;
        }
        Ok(message)
    }

    fn __repr__(&self) -> String {
        format!("PyGraphQLMessage(type_={:?}, id={:?})", self.type_, self.id)
    }
}

fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let Ok(text) = value.cast::<PyString>() else {
        let kind = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!("`{name}` is a `{kind}`: pass a str")));
    };
    text.to_str().map(str::to_owned).map_err(|_| value_error(format!("`{name}` holds a lone surrogate")))
}
