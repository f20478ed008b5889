//! Cells of other libraries as loom sees them: the same one atomic operation, and beside it the value.
//!
//! Each value gets a number, and the number is what is swapped. The values lie in a list that loom knows nothing of,
//! so the list orders nothing: only the swap does.

use std::{fmt, mem, sync::PoisonError};

use loom::{
    alloc::Track,
    cell::UnsafeCell,
    sync::atomic::{self, AtomicUsize, Ordering},
};

#[allow(
    clippy::disallowed_types,
    reason = "loom runs one thread at a time, and none stops while it holds this"
)]
type List<T> = std::sync::Mutex<Vec<T>>;

/// Stores by a swap. Beside a swap, loom lets a plain store be lost (tokio-rs/loom, issues 254 and 389); for a flag with
/// one writer of `true` and one of `false` the two are ordered alike.
#[derive(Debug)]
pub(crate) struct AtomicBool(atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> Self {
        Self(atomic::AtomicBool::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: bool, order: Ordering) {
        self.0.swap(value, order);
    }

    pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value, order)
    }
}

/// Stands for crossbeam's cell, as far as it is lock-free: one swap with `AcqRel`.
pub(crate) struct AtomicCell<T> {
    number: AtomicUsize,
    values: List<T>,
}

impl<T: Default> AtomicCell<T> {
    pub(crate) fn swap(&self, value: T) -> T {
        let number = self.with(|values| {
            values.push(value);
            values.len() - 1
        });
        let before = self.number.swap(number, Ordering::AcqRel);
        self.with(|values| mem::take(&mut values[before]))
    }

    pub(crate) fn take(&self) -> T {
        self.swap(T::default())
    }

    pub(crate) fn store(&self, value: T) {
        drop(self.swap(value));
    }

    fn with<R>(&self, work: impl FnOnce(&mut Vec<T>) -> R) -> R {
        work(&mut self.values.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Default> Default for AtomicCell<T> {
    fn default() -> Self {
        Self { number: AtomicUsize::new(0), values: List::new(vec![T::default()]) }
    }
}

/// Stands for the cell of the library `arc_swap`: storing and swapping are one swap there, too.
pub(crate) struct ArcSwapOption<T>(AtomicCell<Option<std::sync::Arc<T>>>);

impl<T> ArcSwapOption<T> {
    pub(crate) fn empty() -> Self {
        Self(AtomicCell::default())
    }

    pub(crate) fn swap(&self, value: Option<std::sync::Arc<T>>) -> Option<std::sync::Arc<T>> {
        self.0.swap(value)
    }

    pub(crate) fn store(&self, value: Option<std::sync::Arc<T>>) {
        self.0.store(value);
    }
}

impl<T> fmt::Debug for ArcSwapOption<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArcSwapOption").finish_non_exhaustive()
    }
}

/// Has loom watch the life of what it cannot see: unordered uses are data races, and what is never dropped is a leak.
#[derive(Debug)]
pub(crate) struct Witness(Track<UnsafeCell<()>>);

impl Witness {
    pub(crate) fn new() -> Self {
        Self(Track::new(UnsafeCell::new(())))
    }

    /// It is read now.
    pub(crate) fn used(&self) {
        self.0.get_ref().with(|_| ());
    }

    /// It is written or freed now: every other use must have happened before, or happen after.
    pub(crate) fn changed(&self) {
        self.0.get_ref().with_mut(|_| ());
    }
}
