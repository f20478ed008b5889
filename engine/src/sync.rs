//! Atomics and shared pointers, from the standard library or from the model checker `loom`.
//!
//! Concurrent rooms import from here, so that `RUSTFLAGS="--cfg coulis_loom"` turns their tests into models.

#[cfg(coulis_loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(not(coulis_loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence},
};
