//! The one lock of this crate: short sections of the control plane, never held while waiting or calling Python.

use std::sync::MutexGuard;

/// A mutex for a few instructions; nothing inside a section may wait, drop a Python object or call Python.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "control plane only: registrations, not events")]
pub(crate) struct Lock<T>(std::sync::Mutex<T>);

impl<T> Lock<T> {
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Enters. A section that panicked leaves its value usable: each one is a single insertion or removal.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
