//! Where a shard lies while nobody steps it. Who takes it out steps it and puts it back.
//!
//! The pinned thread is one who does; a publisher who finds the shard at rest is another: it steps it itself and
//! saves two wake-ups, which cost more than most dispatches. Whoever finds the berth empty leaves its work in the
//! inbox and rings for the pinned thread, so nobody waits here and no work is lost.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use crossbeam::atomic::AtomicCell;

use super::Shard;
use crate::id::Millis;

/// Batches that a publisher works for others at most; then the pinned thread takes over.
const STEPS_MAX: usize = 4;

/// See the module's documentation. The shard itself is the token: one swap of one pointer.
#[derive(Default)]
pub(crate) struct Berth {
    shard: AtomicCell<Option<Box<Shard>>>,
    /// The shard panicked in somebody's hands and will not come back.
    lost: AtomicBool,
    clock: Clock,
}

/// What tells a shard the time.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

const _: () = assert!(AtomicCell::<Option<Box<Shard>>>::is_lock_free());

impl fmt::Debug for Berth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Berth").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// A shard in somebody's hands; it goes back to its berth, unless it panics.
struct Taken<'a> {
    berth: &'a Berth,
    shard: Option<Box<Shard>>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let shard = self.shard.take();
        if thread::panicking() {
            self.berth.lost.store(true, Ordering::Release);
        } else if shard.is_some() {
            self.berth.shard.store(shard);
        }
    }
}

impl Berth {
    /// Puts a shard in for the first time.
    pub(crate) fn moor(&self, shard: Shard) {
        self.shard.store(Some(Box::new(shard)));
    }

    /// Lets `work` have the shard, if nobody else has it.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Shard) -> R) -> Option<R> {
        let shard = self.shard.take()?;
        let mut taken = Taken { berth: self, shard: Some(shard) };
        taken.shard.as_deref_mut().map(work)
    }

    /// Takes the shard out for good, if nobody has it.
    pub(crate) fn unmoor(&self) -> Option<Box<Shard>> {
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

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}
