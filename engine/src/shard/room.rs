//! Room for a number of events, taken before they are handed over: a batch for several shards is taken in as a whole
//! or not at all, because all its room is taken first.

use std::task::Waker;

use crossbeam::queue::SegQueue;

use crate::sync::{AtomicUsize, Ordering};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Room {
    left: AtomicUsize,
    /// Who waits for room; each is woken once.
    waiters: SegQueue<Waker>,
}

impl Room {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { left: AtomicUsize::new(capacity), waiters: SegQueue::new() }
    }

    /// Takes room for `count`, if there is that much.
    pub(crate) fn take(&self, count: usize) -> bool {
        let taken = |left: usize| left.checked_sub(count);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Relaxed, taken).is_ok()
    }

    /// Gives room back. Its addition and the second look of a waiter are ordered on the counter: either the waiter sees
    /// the room, or this sees the waiter.
    pub(crate) fn give(&self, count: usize) {
        self.left.fetch_add(count, Ordering::AcqRel);
        while let Some(waker) = self.waiters.pop() {
            waker.wake();
        }
    }

    /// Wakes `waker` when room is given back. Try once more after this.
    pub(crate) fn on_room(&self, waker: Waker) {
        self.waiters.push(waker);
        // A read-modify-write, for the order above.
        self.left.fetch_add(0, Ordering::AcqRel);
    }
}
