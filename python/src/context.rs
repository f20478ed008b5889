//! `SecurityContext`: who a subscription belongs to, as the server side knows it.

use std::sync::Arc;

use coulis::{id::Identity, security};
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
    /// Roles and scopes as the engine has them.
    words: [Arc<[Box<str>]>; 2],
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
        let (roles, scopes) = (roles.unwrap_or_default(), scopes.unwrap_or_default());
        let words = |words: &[String]| words.iter().map(|word| word.as_str().into()).collect();
        Ok(Self {
            user: identity("user_id", user_id)?,
            tenant: identity("tenant_id", tenant_id)?,
            words: [words(&roles), words(&scopes)],
            roles: PyTuple::new(py, roles)?.unbind(),
            scopes: PyTuple::new(py, scopes)?.unbind(),
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
    pub(crate) fn security(&self) -> security::SecurityContext {
        let [roles, scopes] = self.words.clone();
        let (user, tenant) = (self.user.clone(), self.tenant.clone());
        security::SecurityContext { roles, scopes, ..security::SecurityContext::new(user, tenant) }
    }
}
