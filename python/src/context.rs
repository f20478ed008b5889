//! `SecurityContext`: who a subscription belongs to, as the server side knows it.

use coulis::id::Identity;
use pyo3::{
    prelude::*,
    types::{PyDict, PyTuple},
};

use crate::identity::identity;

/// Who a subscription belongs to. It comes from the server side only, never from a message of the client.
#[pyclass(frozen, module = "coulis")]
#[derive(Debug)]
pub(crate) struct SecurityContext {
    pub(crate) user: Option<Identity>,
    pub(crate) tenant: Option<Identity>,
    #[pyo3(get)]
    roles: Py<PyTuple>,
    #[pyo3(get)]
    scopes: Py<PyTuple>,
    #[pyo3(get)]
    federation: Py<PyAny>,
    #[pyo3(get)]
    claims: Py<PyDict>,
}

#[pymethods]
impl SecurityContext {
    #[new]
    #[pyo3(signature = (user_id=None, tenant_id=None, roles=None, scopes=None, federation=None, claims=None))]
    fn new(
        py: Python<'_>,
        user_id: Option<&Bound<'_, PyAny>>,
        tenant_id: Option<&Bound<'_, PyAny>>,
        roles: Option<Vec<String>>,
        scopes: Option<Vec<String>>,
        federation: Option<Py<PyAny>>,
        claims: Option<Py<PyDict>>,
    ) -> PyResult<Self> {
        Ok(Self {
            user: identity("user_id", user_id)?,
            tenant: identity("tenant_id", tenant_id)?,
            roles: PyTuple::new(py, roles.unwrap_or_default())?.unbind(),
            scopes: PyTuple::new(py, scopes.unwrap_or_default())?.unbind(),
            federation: federation.unwrap_or_else(|| py.None()),
            claims: claims.unwrap_or_else(|| PyDict::new(py).unbind()),
        })
    }

    /// The user's canonical text, or `None` for nobody.
    #[getter]
    fn user_id(&self) -> Option<&str> {
        self.user.as_ref().map(Identity::as_str)
    }

    /// The tenant's canonical text, or `None` for none.
    #[getter]
    fn tenant_id(&self) -> Option<&str> {
        self.tenant.as_ref().map(Identity::as_str)
    }

    fn __repr__(&self) -> String {
        format!("SecurityContext(user_id={:?}, tenant_id={:?})", self.user_id(), self.tenant_id())
    }
}

impl SecurityContext {
    /// What the engine needs of it.
    pub(crate) fn identities(&self) -> (Option<Identity>, Option<Identity>) {
        (self.user.clone(), self.tenant.clone())
    }
}
