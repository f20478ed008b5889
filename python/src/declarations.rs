//! What `@subscription` declared, read at the moment a subscription is made.

use coulis::{overflow::Overflow, security::Condition};
use pyo3::prelude::*;

use crate::{endings::Inside, lazy::intern, lock::Lock, settings};

/// A mapping from root fields to declarations, owned by a registry of Python.
#[derive(Debug)]
pub(crate) struct Declarations(Lock<Option<Py<PyAny>>>);

/// What a subscription takes over from the declaration of its root field.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) resolver: Option<Py<PyAny>>,
    pub(crate) channels: Vec<String>,
    pub(crate) events: Vec<String>,
    pub(crate) policies: Vec<Condition>,
    pub(crate) filters: Vec<Condition>,
    pub(crate) per_subscription: bool,
    pub(crate) overflow: Overflow,
    /// Seconds that the resolver may take; `None`: as the settings say.
    pub(crate) timeout: Option<f64>,
    /// The host makes the results: no event does, and there is no resolver.
    pub(crate) generates: bool,
    /// The host has to be asked before somebody may subscribe.
    pub(crate) guarded: bool,
}

impl Declarations {
    pub(crate) fn new(fields: Option<Py<PyAny>>) -> Self {
        Self(Lock::new(fields))
    }

    /// Lets go of the mapping: nothing is declared any more.
    pub(crate) fn let_go(&self) {
        let fields = self.0.lock().take();
        drop(fields);
    }

    /// What is declared for `field`; nothing, if it is not there.
    pub(crate) fn get(&self, py: Python<'_>, field: &str) -> PyResult<Declared> {
        let fields = self.0.lock().as_ref().map(|fields| fields.clone_ref(py));
        let Some(fields) = fields else { return Ok(Declared::default()) };
        let _inside = Inside::enter()?;
        let found = fields.bind(py).call_method1(intern!(py, "get"), (field,))?;
        if found.is_none() {
            return Ok(Declared::default());
        }
        let generates: bool = found.getattr(intern!(py, "generates"))?.extract()?;
        let resolver = found.getattr(intern!(py, "resolver"))?;
        Ok(Declared {
            resolver: (!generates).then(|| resolver.unbind()),
            channels: found.getattr(intern!(py, "channels"))?.extract()?,
            events: found.getattr(intern!(py, "events"))?.extract()?,
            policies: settings::conditions("policy", Some(&found.getattr(intern!(py, "policy"))?))?,
            filters: settings::conditions("filter", Some(&found.getattr(intern!(py, "filter"))?))?,
            per_subscription: found.getattr(intern!(py, "per_subscription"))?.extract()?,
            overflow: settings::overflow(&found.getattr(intern!(py, "overflow"))?)?,
            timeout: found.getattr(intern!(py, "timeout"))?.extract()?,
            generates,
            guarded: found.getattr(intern!(py, "permission_classes"))?.is_truthy()?,
        })
    }
}
