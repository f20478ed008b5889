//! The pinned thread that steps a shard: works while there is work, spins a little, then sleeps.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    thread::{self, JoinHandle, Thread},
};

use super::{
    Shard,
    inbox::{Inbox, Outlet},
};

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
    /// The shard's own inbox, and its other end.
    pub(crate) inbox: Inbox,
    pub(crate) outlet: Outlet,
}

impl Driver {
    /// Starts the thread; who has the other end of `running` learns that it has left.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub(crate) fn start(self, running: flume::Sender<Infallible>) -> std::io::Result<JoinHandle<()>> {
        thread::Builder::new().name(self.name.clone()).spawn(move || {
            self.run();
            drop(running);
        })
    }

    fn run(&self) {
        if let Some(core) = self.core {
            core_affinity::set_for_current(core);
        }
        // Set once, here: nobody else has this sleeper's thread.
        _ = self.sleeper.0.set(thread::current());
        let mut drained = false;
        loop {
            let turn = || self.inbox.berth().with(|shard| self.turn(shard, &mut drained));
            // A panic has been printed, and the berth knows that its shard is lost.
            match catch_unwind(AssertUnwindSafe(turn)).unwrap_or(None) {
                Some(Next::Sleep) => self.sleep(),
                Some(Next::Leave) => return self.leave(),
                None if self.inbox.berth().is_lost() => return self.stand_in(drained),
                // A publisher has the shard for a few batches, or a peer's inbox is full.
                Some(Next::Work) | None => thread::yield_now(),
            }
        }
    }

    /// Works while there is work; what is next then?
    fn turn(&self, shard: &mut Shard, drained: &mut bool) -> Next {
        while shard.step(self.inbox.berth().now()) {}
        if !*drained && shard.drained() {
            *drained = true;
            self.tell_drained();
        }
        // Before asking whether all have drained, too: the last one wakes whoever asked too early.
        shard.arm();
        if *drained && self.undrained.load(Ordering::Acquire) == 0 {
            // Every shard's last forward is in its peer's inbox by now.
            while shard.step(self.inbox.berth().now()) {}
            if shard.may_leave() {
                return Next::Leave;
            }
        }
        if shard.is_idle() { Next::Sleep } else { Next::Work }
    }

    fn tell_drained(&self) {
        self.undrained.fetch_sub(1, Ordering::AcqRel);
        self.peers.iter().for_each(Inbox::wake);
    }

    /// Drops the shard. Who came late may have it for a moment, and puts it back.
    fn leave(&self) {
        while self.inbox.berth().unmoor().is_none() && !self.inbox.berth().is_lost() {
            thread::yield_now();
        }
    }

    /// The shard is lost: what comes for it is dropped, so that nobody waits for it, until the engine closes.
    fn stand_in(&self, mut drained: bool) {
        loop {
            self.outlet.arm();
            self.outlet.discard();
            if !drained && self.inbox.berth().is_stopping() {
                drained = true;
                self.tell_drained();
            }
            if drained && self.undrained.load(Ordering::Acquire) == 0 {
                return self.outlet.discard();
            }
            if self.outlet.is_empty() {
                thread::park();
            }
        }
    }

    /// Armed before: what came since has unparked this thread.
    fn sleep(&self) {
        for _ in 0..self.spins {
            if !self.inbox.is_empty() {
                return;
            }
            std::hint::spin_loop();
        }
        thread::park();
    }
}

/// What a shard's thread does after a turn.
enum Next {
    Work,
    Sleep,
    Leave,
}
