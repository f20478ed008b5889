//! `Held`: a connection that Python calls into, one call at a time, in the process that made it.

use pyo3::prelude::*;

use crate::{errors::detached, forks::Native, lock::Lock};

/// Empty once closed.
#[derive(Debug)]
pub(crate) struct Held<T>(Lock<Option<Box<Native<T>>>>);

impl<T> Held<T> {
    pub(crate) fn new(connection: T) -> Self {
        Self(Lock::new(Some(Box::new(Native::new(connection)))))
    }

    /// Runs `work` on the connection, which is out of reach meanwhile: no lock is held while Python runs.
    pub(crate) fn with<U: Default>(&self, work: impl FnOnce(&mut T) -> PyResult<U>) -> PyResult<U> {
        let Some(mut connection) = self.0.lock().take() else { return Ok(U::default()) };
        let worked = connection.get_mut().and_then(work);
        *self.0.lock() = Some(connection);
        worked
    }
}

impl<T: Send> Held<T> {
    /// Drops the connection. Safe to repeat.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        let connection = self.0.lock().take();
        detached(py, || drop(connection))
    }
}
