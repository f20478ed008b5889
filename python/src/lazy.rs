//! Objects of Python that are made when they are first asked for.

use std::sync::OnceLock;

use pyo3::{PyTypeCheck, prelude::*};

/// One object, the same for ever.
///
/// Why not `PyOnceLock`: it lets other threads have the interpreter while it makes the object, and a child that one of
/// them forks then would wait for it for ever. Here two threads may both make one, of which the first is kept.
#[derive(Debug)]
pub(crate) struct Lazy<T>(OnceLock<Py<T>>);

impl<T> Lazy<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, T>> {
        self.0.get().map(|kept| kept.bind(py))
    }

    /// Keeps an object, unless there is one; answers the one that is kept.
    pub(crate) fn keep<'py>(&self, py: Python<'py>, made: Py<T>) -> &Bound<'py, T> {
        self.0.get_or_init(|| made).bind(py)
    }
}

impl<T: PyTypeCheck> Lazy<T> {
    /// What a module calls `name`.
    pub(crate) fn import<'py>(&self, py: Python<'py>, module: &str, name: &str) -> PyResult<&Bound<'py, T>> {
        match self.get(py) {
            Some(kept) => Ok(kept),
            None => Ok(self.keep(py, py.import(module)?.getattr(name)?.cast_into::<T>()?.unbind())),
        }
    }
}

/// A text that is made once, as by `pyo3::intern!`.
macro_rules! intern {
    ($py:expr, $text:literal) => {{
        static TEXT: $crate::lazy::Lazy<pyo3::types::PyString> = $crate::lazy::Lazy::new();
        let py: pyo3::Python<'_> = $py;
        TEXT.get(py).unwrap_or_else(|| TEXT.keep(py, pyo3::types::PyString::intern(py, $text).unbind()))
    }};
}
pub(crate) use intern;
