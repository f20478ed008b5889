//! What one reader and its shard share beside the ring.

use crate::{
    loss::Losses,
    notifier::{Doorbell, Wake},
    sync::{Arc, AtomicBool, AtomicU64, Ordering},
};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) doorbell: Doorbell,
    pub(crate) losses: Losses,
    /// Bytes of bodies that the reader took out of the ring.
    read: AtomicU64,
    /// The shard keeps frames aside that found no room.
    kept: AtomicBool,
    /// The shard is gone: nothing more comes.
    over: AtomicBool,
}

impl Link {
    pub(crate) fn new(wake: Wake, lanes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            doorbell: Doorbell::new(wake),
            losses: Losses::new(lanes_max),
            read: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            over: AtomicBool::new(false),
        })
    }

    /// The reader's side, its only writer.
    pub(crate) fn count_read(&self, bytes: u64) {
        self.read.store(self.read.load(Ordering::Relaxed) + bytes, Ordering::Release);
    }

    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    /// The shard's side, when it kept something. It must look for room once more after this: the swaps are ordered,
    /// so either the reader sees the flag, or this side sees the room that the reader made.
    pub(crate) fn keep(&self) {
        self.kept.swap(true, Ordering::AcqRel);
    }

    /// The shard's last word.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.doorbell.ring();
    }

    /// Whether what is in the ring now is all that there will be.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The reader's side, after it made room: whether the shard waits for that.
    pub(crate) fn take_kept(&self) -> bool {
        self.kept.swap(false, Ordering::AcqRel)
    }
}
