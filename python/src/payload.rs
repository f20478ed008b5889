//! `PySubscriptionPayload`: the `payload` of a `subscribe` message.

use pyo3::{prelude::*, types::PyDict};

use crate::lock::Lock;

/// What a client asks for: a GraphQL document, which of its operations, its variables, and extensions.
#[pyclass(frozen, module = "coulis")]
#[derive(Debug)]
pub(crate) struct PySubscriptionPayload(Lock<Fields>);

#[derive(Debug)]
struct Fields {
    query: String,
    operation_name: Option<String>,
    variables: Py<PyDict>,
    extensions: Option<Py<PyDict>>,
}

#[pymethods]
impl PySubscriptionPayload {
    #[new]
    #[pyo3(signature = (query, operation_name=None, variables=None, extensions=None))]
    fn new(
        py: Python<'_>,
        query: String,
        operation_name: Option<String>,
        variables: Option<Py<PyDict>>,
        extensions: Option<Py<PyDict>>,
    ) -> Self {
        let variables = variables.unwrap_or_else(|| PyDict::new(py).unbind());
        Self(Lock::new(Fields { query, operation_name, variables, extensions }))
    }

    /// The GraphQL document.
    #[getter]
    fn query(&self) -> String {
        self.0.lock().query.clone()
    }

    #[setter]
    fn set_query(&self, query: String) {
        self.0.lock().query = query;
    }

    /// Which operation of the document to run, if it has several.
    #[getter]
    fn operation_name(&self) -> Option<String> {
        self.0.lock().operation_name.clone()
    }

    #[setter]
    fn set_operation_name(&self, operation_name: Option<String>) {
        self.0.lock().operation_name = operation_name;
    }

    /// Values of the operation's variables by name; never `None`.
    #[getter]
    fn variables(&self, py: Python<'_>) -> Py<PyDict> {
        self.0.lock().variables.clone_ref(py)
    }

    #[setter]
    fn set_variables(&self, py: Python<'_>, variables: Option<Py<PyDict>>) {
        let new = variables.unwrap_or_else(|| PyDict::new(py).unbind());
        // Dropped after the lock is left: dropping may run Python code.
        let _old = std::mem::replace(&mut self.0.lock().variables, new);
    }

    /// Extensions of the client, or `None`.
    #[getter]
    fn extensions(&self, py: Python<'_>) -> Option<Py<PyDict>> {
        self.0.lock().extensions.as_ref().map(|extensions| extensions.clone_ref(py))
    }

    #[setter]
    fn set_extensions(&self, extensions: Option<Py<PyDict>>) {
        let _old = std::mem::replace(&mut self.0.lock().extensions, extensions);
    }

    fn __repr__(&self) -> String {
        let fields = self.0.lock();
        format!("PySubscriptionPayload(query={:?}, operation_name={:?})", fields.query, fields.operation_name)
    }
}
