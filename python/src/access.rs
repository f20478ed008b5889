//! The option `access=` of an executor: who may read which field, and which variables name the reader.

use coulis::{
    limits::Limits,
    security::{
        VariableScope,
        access::{Access, AccessError},
    },
    value::Value,
};
use pyo3::{prelude::*, types::PyDict};

use crate::{
    encode::{self, Bounds},
    errors::value_error,
    settings,
};

/// The rules of a mapping, and the variables that it names.
pub(crate) fn access(py: Python<'_>, given: &Bound<'_, PyAny>) -> PyResult<(Access, VariableScope)> {
    let (rules, mut scope) = (PyDict::new(py), VariableScope::default());
    for (name, value) in settings::pairs("access", Some(given))? {
        if name == "variables" {
            scope = variable_scope(&value)?;
        } else {
            rules.set_item(name, value)?;
        }
    }
    let limits = Limits::default();
    let mut text = encode::encode("access", rules.as_any(), Bounds::event(&limits))?;
    let value = Value::parse(&mut text, limits.event_depth_max)
        .map_err(|error| value_error(format!("`access` is refused: {error}")))?;
    Ok((Access::from_value(&value).map_err(|error| refused(&error))?, scope))
}

/// `False`, or names for `user` and `tenant`; what is left out is as by default.
fn variable_scope(given: &Bound<'_, PyAny>) -> PyResult<VariableScope> {
    if let Ok(on) = given.extract::<bool>() {
        return Ok(if on { VariableScope::default() } else { VariableScope::none() });
    }
    let mut scope = VariableScope::default();
    for (name, value) in settings::pairs("variables", Some(given))? {
        let words =
            || Ok::<_, PyErr>(settings::words("variables", Some(&value))?.into_iter().map(Into::into));
        match name.as_str() {
            "user" => scope.user = words()?.collect(),
            "tenant" => scope.tenant = words()?.collect(),
            _ => return Err(value_error("`variables` has names beside `user` and `tenant`: leave them out")),
        }
    }
    Ok(scope)
}

/// `ValueError` about rules.
pub(crate) fn refused(error: &AccessError) -> PyErr {
    value_error(format!("`access`: {error}"))
}
