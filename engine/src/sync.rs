//! Atomics and shared pointers, from the standard library or from the model checker `loom`.
//!
//! Concurrent rooms import from here, so that `RUSTFLAGS="--cfg coulis_loom"` turns their tests into models. Cells of
//! other libraries, which loom cannot see into, have stand-ins there.

#[cfg(all(test, coulis_loom))]
pub(crate) mod model;
#[cfg(coulis_loom)]
mod stand_in;

#[cfg(coulis_loom)]
pub(crate) use loom::{
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread,
};
#[cfg(coulis_loom)]
pub(crate) use stand_in::{ArcSwapOption, AtomicBool, AtomicCell, Witness};

#[cfg(not(coulis_loom))]
pub(crate) use arc_swap::ArcSwapOption;
#[cfg(not(coulis_loom))]
pub(crate) use crossbeam::atomic::AtomicCell;
#[cfg(not(coulis_loom))]
pub(crate) use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread,
};

/// Has loom watch the life of what it cannot see; nothing elsewhere.
#[cfg(not(coulis_loom))]
#[derive(Debug)]
pub(crate) struct Witness;

#[cfg(not(coulis_loom))]
#[allow(clippy::unused_self, reason = "only loom looks at it")]
impl Witness {
    #[inline]
    pub(crate) fn new() -> Self {
        Self
    }

    /// It is read now.
    #[inline]
    pub(crate) fn used(&self) {}

    /// It is written or freed now: every other use must have happened before, or happen after.
    #[inline]
    pub(crate) fn changed(&self) {}
}
