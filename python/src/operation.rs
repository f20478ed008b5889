//! `Operation`: what a client asked for and the host decides on, or runs.

use coulis::{protocol::Subscribe, security, value::Value};
use pyo3::{prelude::*, types::PyAny};

use crate::decode;

/// What a client asked for, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) subscribe: Subscribe,
    /// Where to resume.
    pub(crate) resume: Option<String>,
    /// Who asks, where that need not be who the connection is.
    pub(crate) context: Option<security::SecurityContext>,
}

/// One operation of a connection, whose document keeps every rule.
#[pyclass(frozen, module = "coulis")]
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) order: Order,
    /// `"query"`, `"mutation"` or `"subscription"`.
    #[pyo3(get)]
    pub(crate) kind: &'static str,
    /// The root field of a subscription, by its name in the schema.
    #[pyo3(get)]
    pub(crate) root_field: Option<String>,
    /// Those of a subscription are coerced.
    pub(crate) variables: Value,
    pub(crate) arguments: Value,
}

#[pymethods]
impl Operation {
    /// The id that the client chose.
    #[getter]
    fn id(&self) -> &str {
        self.order.subscribe.operation.id()
    }

    /// The GraphQL document.
    #[getter]
    fn query(&self) -> &str {
        &self.order.subscribe.query
    }

    /// Which operation of the document, where the client named one.
    #[getter]
    fn operation_name(&self) -> Option<&str> {
        self.order.subscribe.operation_name.as_deref()
    }

    /// The variables; those of a subscription with the defaults of the document.
    #[getter]
    fn variables<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        object(py, &self.variables)
    }

    /// The arguments of a subscription's root field, with the variables put in.
    #[getter]
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        object(py, &self.arguments)
    }

    /// The request's extensions.
    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        object(py, self.order.subscribe.extensions.as_ref().unwrap_or(&Value::Null))
    }

    fn __repr__(&self) -> String {
        let field = self.root_field.as_ref().map_or_else(String::new, |field| format!(" {field}"));
        format!("<Operation {:?}: {}{field}>", self.id(), self.kind)
    }
}

/// A dict, also where nothing was said.
fn object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(pyo3::types::PyDict::new(py).into_any()),
        value => decode::tree(py, value),
    }
}
