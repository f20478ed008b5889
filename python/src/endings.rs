//! No thread runs Python code for code of this crate when the interpreter ends.
//!
//! Before 3.14 an interpreter that ends takes down the threads that want it by unwinding their stacks, which aborts the
//! process, without a word, where a function of Rust called the Python code that is unwound. A thread that is merely
//! detached is safe: it is left waiting for ever. So whoever calls what may be code of Python, from any thread, does it
//! inside, and the end waits until nobody is.

use std::{
    cell::Cell,
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use pyo3::prelude::*;

use crate::{
    core,
    errors::{EngineClosed, detached},
};

/// How long the end waits for Python code that was called from here and does not return.
const INSIDE_WAIT_MAX: Duration = Duration::from_secs(2);

/// How many are inside.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Set when the interpreter is about to end; nobody else comes in.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Tells the end that somebody went out.
static OUT: LazyLock<(flume::Sender<()>, flume::Receiver<()>)> = LazyLock::new(|| flume::bounded(1));

thread_local! {
    /// This thread ends the interpreter, and is not taken down by it.
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// As long as it lives, this thread may call code of Python.
#[derive(Debug)]
pub(crate) struct Inside(());

impl Inside {
    /// # Errors
    /// `EngineClosed` when the interpreter ends, in another thread.
    pub(crate) fn enter() -> PyResult<Self> {
        let inside = Self(());
        // Counted first: an end that does not see it is seen here.
        INSIDE.fetch_add(1, Ordering::SeqCst);
        if ENDING.load(Ordering::SeqCst) && !ENDS.get() {
            return Err(EngineClosed::new_err(
                "the interpreter ends: its other threads have nothing to do any more",
            ));
        }
        Ok(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // At zero already: this process was forked from inside.
        let _none = INSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
        if ENDING.load(Ordering::SeqCst) {
            // Full is enough to look.
            let _full = OUT.0.try_send(());
        }
    }
}

/// Called by `atexit`: closes all executors, and has no other thread call Python from here.
#[pyfunction]
pub(crate) fn end(py: Python<'_>) -> PyResult<()> {
    core::close_all(py)?;
    ENDS.set(true);
    ENDING.store(true, Ordering::SeqCst);
    detached(py, || {
        let deadline = Instant::now() + INSIDE_WAIT_MAX;
        while INSIDE.load(Ordering::SeqCst) > 0 && OUT.1.recv_deadline(deadline).is_ok() {}
    })?;
    // Those that were made meanwhile.
    core::close_all(py)
}

/// Called in a forked child, which has none of the other threads and does not end yet.
pub(crate) fn forked() {
    INSIDE.store(0, Ordering::SeqCst);
    ENDING.store(false, Ordering::SeqCst);
    ENDS.set(false);
}
