//! Room for a number of events, taken before they are handed over: a batch for several shards is taken in as a whole
//! or not at all, because all its room is taken first.

use std::task::Waker;

use crossbeam::queue::SegQueue;

use crate::sync::{AtomicUsize, Ordering};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Room {
    capacity: usize,
    left: AtomicUsize,
    /// Who waits for room; each is woken once.
    waiters: SegQueue<Waker>,
}

impl Room {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, left: AtomicUsize::new(capacity), waiters: SegQueue::new() }
    }

    /// Takes room for `count`, if there is that much.
    pub(crate) fn take(&self, count: usize) -> bool {
        let taken = |left: usize| left.checked_sub(count);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Relaxed, taken).is_ok()
    }

    /// How much of the room is taken.
    pub(crate) fn taken(&self) -> usize {
        self.capacity.saturating_sub(self.left.load(Ordering::Relaxed))
    }

    /// Gives room back. Its addition and the second look of a waiter are ordered on the counter: either the waiter sees
    /// the room, or this sees the waiter.
    pub(crate) fn give(&self, count: usize) {
        self.left.fetch_add(count, Ordering::AcqRel);
        // Those of now: who comes while others are woken has seen the room. Waking them, too, would go on for as long
        // as they find none and come back, and the shard, which alone makes room, would be the one who wakes.
        for _ in 0..self.waiters.len() {
            if let Some(waker) = self.waiters.pop() {
                waker.wake();
            }
        }
    }

    /// Wakes `waker` when room is given back. Try once more after this.
    pub(crate) fn on_room(&self, waker: Waker) {
        self.waiters.push(waker);
        // A read-modify-write, for the order above.
        self.left.fetch_add(0, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(coulis_loom)))]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        task::Wake,
    };

    use super::*;

    /// Finds no room, and waits again at once.
    struct Again(Arc<Room>, AtomicUsize);

    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            if self.1.fetch_add(1, Ordering::Relaxed) < 1_000 {
                self.0.on_room(Waker::from(Arc::clone(&self)));
            }
        }
    }

    #[test]
    fn who_comes_back_while_room_is_given_is_not_woken_again() {
        let room = Arc::new(Room::new(0));
        let again = Arc::new(Again(Arc::clone(&room), AtomicUsize::new(0)));
        room.on_room(Waker::from(Arc::clone(&again)));
        for gives in 1..=2 {
            room.give(1);
            assert_eq!(again.1.load(Ordering::Relaxed), gives);
        }
        // It waits again, so that each of the two holds the other.
        assert!(room.waiters.pop().is_some());
    }
}
