//! `coulis.graphql.validate`: what is wrong with a document, before anybody runs it.

use coulis::{
    limits::Limits,
    plan::{self, Schema},
};
use pyo3::{prelude::*, types::PyList};

use crate::{
    encode::{self, Bounds},
    errors::{detached, graphql_errors, value_error},
    executor::schema_error,
};

/// What is wrong with a GraphQL document: `[]` if nothing is, otherwise errors as GraphQL shapes them.
///
/// Without `schema` the rules that need no types are checked. Raises `ValueError` for a `schema` that is none.
#[pyfunction]
#[pyo3(signature = (document, *, schema=None, operation_name=None, variables=None))]
pub(crate) fn validate<'py>(
    py: Python<'py>,
    document: &str,
    schema: Option<&str>,
    operation_name: Option<&str>,
    variables: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let limits = Limits::default();
    let variables = match variables.filter(|given| !given.is_none()) {
        Some(given) => {
            let mut text = encode::encode("variables", given, Bounds::variables(&limits))?;
            let value = coulis::value::Value::parse(&mut text, limits.message_depth_max);
            Some(value.map_err(|error| value_error(format!("`variables` is refused: {error}")))?)
        }
        None => None,
    };
    let schema = match schema {
        Some(text) => Some(detached(py, || Schema::parse(text))?.map_err(|errors| schema_error(&errors))?),
        None => None,
    };
    let errors = detached(py, || {
        plan::validate(document, schema.as_ref(), operation_name, variables.as_ref(), &limits)
    })?;
    graphql_errors(py, &errors)
}
