//! Where a shard lies while nobody steps it. Who takes it out steps it and puts it back.
//!
//! The pinned thread is one who does; a publisher who finds the shard at rest is another: it steps it itself and
//! saves two wake-ups, which cost more than most dispatches. Whoever finds the berth empty leaves its work in the
//! inbox and rings for the pinned thread, so nobody waits here and no work is lost.

#[cfg(all(test, coulis_loom))]
mod model;

use std::{fmt, time::Instant};

use super::Shard;
use crate::{
    id::Millis,
    sync::{AtomicBool, AtomicCell, Ordering},
};

/// Batches that a publisher works for others at most; then the pinned thread takes over.
const STEPS_MAX: usize = 4;

/// See the module's documentation. The shard itself is the token: one swap of one pointer.
pub(crate) struct Berth<S = Shard> {
    shard: AtomicCell<Option<Box<S>>>,
    /// The shard panicked in somebody's hands and will not come back.
    lost: AtomicBool,
    /// The engine closes.
    stopping: AtomicBool,
    /// It closes, and its time for that is over.
    late: AtomicBool,
    clock: Clock,
}

/// What tells a shard the time.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

#[cfg(not(coulis_loom))]
const _: () = assert!(AtomicCell::<Option<Box<Shard>>>::is_lock_free());

/// What a berth asks of what lies there.
pub(crate) trait Work {
    /// See [`Shard::step`].
    fn step(&mut self, now: Millis) -> bool;
    /// Whether the pinned thread is not needed; see [`Shard::is_idle`].
    fn is_idle(&self) -> bool;
}

impl Work for Shard {
    fn step(&mut self, now: Millis) -> bool {
        self.step(now)
    }

    fn is_idle(&self) -> bool {
        // Whoever brings a stopping shard the last answer has its thread see that it may leave.
        self.is_idle() && !self.is_stopping()
    }
}

impl<S> Default for Berth<S> {
    fn default() -> Self {
        let clock = Clock(Instant::now());
        Self {
            shard: AtomicCell::default(),
            lost: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            late: AtomicBool::new(false),
            clock,
        }
    }
}

impl<S> fmt::Debug for Berth<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Berth").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// A shard in somebody's hands; it goes back to its berth, unless it panics.
struct Taken<'a, S> {
    berth: &'a Berth<S>,
    shard: Option<Box<S>>,
    /// The work has come back. Asking whether this thread panics would not do: work is done while a thread unwinds,
    /// too, such as the answer of a resolver's job that is dropped then.
    done: bool,
}

impl<S> Drop for Taken<'_, S> {
    fn drop(&mut self) {
        let shard = self.shard.take();
        if self.done {
            self.berth.shard.store(shard);
        } else {
            self.berth.lost.store(true, Ordering::Release);
        }
    }
}

impl<S: Work> Berth<S> {
    /// Puts a shard in for the first time.
    pub(crate) fn moor(&self, shard: S) {
        self.shard.store(Some(Box::new(shard)));
    }

    /// Lets `work` have the shard, if nobody else has it.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut S) -> R) -> Option<R> {
        let shard = self.shard.take()?;
        let mut taken = Taken { berth: self, shard: Some(shard), done: false };
        let result = taken.shard.as_deref_mut().map(work);
        taken.done = true;
        result
    }

    /// Takes the shard out for good, if nobody has it.
    pub(crate) fn unmoor(&self) -> Option<Box<S>> {
        self.shard.take()
    }

    /// Steps the shard until `done`, if nobody else has it and it does not take long. Answers whether the pinned
    /// thread is still needed.
    pub(crate) fn step_until(&self, done: impl Fn() -> bool) -> bool {
        let rest = self.with(|shard| {
            for _ in 0..STEPS_MAX {
                if !shard.step(self.now()) || done() {
                    break;
                }
            }
            shard.is_idle()
        });
        rest != Some(true)
    }

    /// The time since the engine's start.
    pub(crate) fn now(&self) -> Millis {
        Millis(u64::try_from(self.clock.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Tells whoever stands in for a lost shard that the engine closes.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The time to close is over. Wake the pinned thread after this.
    pub(crate) fn be_late(&self) {
        self.late.store(true, Ordering::Release);
    }

    pub(crate) fn is_late(&self) -> bool {
        self.late.load(Ordering::Acquire)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}
