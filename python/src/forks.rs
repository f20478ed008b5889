//! What belongs to threads is of no use in a forked child, and must not be touched there.
//!
//! A child has the memory of its parent's threads and none of the threads: a join would wait for ever, a lock may
//! be held by nobody. So owners of threads note the process they were made in, refuse calls in another one, and
//! leave their threads' memory alone there.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;

use crate::errors::EngineClosed;

/// How many forks lie between this process and the first one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Called by `os.register_at_fork` in the child.
#[pyfunction]
pub(crate) fn forked() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    crate::endings::forked();
    crate::core::forget_all();
}

/// A value that is used and dropped only in the process that made it.
#[derive(Debug)]
pub(crate) struct Native<T> {
    generation: u32,
    /// Empty once dropped.
    value: Option<T>,
}

impl<T> Native<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { generation: GENERATION.load(Ordering::Relaxed), value: Some(value) }
    }

    /// # Errors
    /// `EngineClosed` in a forked child.
    pub(crate) fn get(&self) -> PyResult<&T> {
        self.value.as_ref().filter(|_| self.is_home()).ok_or_else(not_home)
    }

    /// # Errors
    /// `EngineClosed` in a forked child.
    pub(crate) fn get_mut(&mut self) -> PyResult<&mut T> {
        let home = self.is_home();
        self.value.as_mut().filter(|_| home).ok_or_else(not_home)
    }

    fn is_home(&self) -> bool {
        self.generation == GENERATION.load(Ordering::Relaxed)
    }
}

fn not_home() -> PyErr {
    EngineClosed::new_err("the executor was made before this process was forked: make one in each process")
}

impl<T> Drop for Native<T> {
    #[expect(clippy::mem_forget, reason = "dropping it would wait for threads that a forked child has not")]
    fn drop(&mut self) {
        if !self.is_home() {
            std::mem::forget(self.value.take());
        }
    }
}
