//! The pinned thread that steps a shard: works while there is work, spins a little, then sleeps.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    thread::{self, JoinHandle, Thread},
};

use super::{Shard, inbox::Inbox};

/// Wakes a thread that may not have been started yet: until then there is nobody asleep.
#[derive(Debug, Default)]
pub(crate) struct Sleeper(OnceLock<Thread>);

impl Sleeper {
    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

/// How a shard's thread runs.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) name: String,
    pub(crate) core: Option<core_affinity::CoreId>,
    /// Looks at an empty inbox before it sleeps.
    pub(crate) spins: u32,
    pub(crate) sleeper: Arc<Sleeper>,
    /// Shards that may still forward to others.
    pub(crate) undrained: Arc<AtomicUsize>,
    pub(crate) peers: Arc<[Inbox]>,
}

impl Driver {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub(crate) fn start(self, shard: Shard) -> std::io::Result<JoinHandle<()>> {
        thread::Builder::new().name(self.name.clone()).spawn(move || self.run(shard))
    }

    fn run(&self, mut shard: Shard) {
        if let Some(core) = self.core {
            core_affinity::set_for_current(core);
        }
        // Set once, here: nobody else has this sleeper's thread.
        _ = self.sleeper.0.set(thread::current());
        let mut drained = false;
        loop {
            while shard.step() {}
            if !drained && shard.drained() {
                drained = true;
                self.undrained.fetch_sub(1, Ordering::AcqRel);
                self.peers.iter().for_each(Inbox::wake);
            }
            if drained && self.undrained.load(Ordering::Acquire) == 0 {
                // Every shard's last forward is in its peer's inbox by now.
                while shard.step() {}
                return;
            }
            self.idle(&shard);
        }
    }

    fn idle(&self, shard: &Shard) {
        for _ in 0..self.spins {
            if !shard.is_idle() {
                return;
            }
            std::hint::spin_loop();
        }
        shard.arm();
        if shard.is_idle() {
            thread::park();
        }
    }
}
