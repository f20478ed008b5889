//! What became of one published event, and the wait for it.

#[cfg(all(test, coulis_loom))]
mod model;

use std::{sync::Arc, task::Waker};

use crate::{
    notifier,
    sync::{ArcSwapOption, AtomicU64, AtomicUsize, Ordering, thread},
};

/// Deliveries of one event, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Subscriptions that the event was meant for, before their policy was asked.
    pub matched: u64,
    /// Frames put into rings: deliveries.
    pub delivered: u64,
    /// Withheld by the policy.
    pub denied: u64,
    /// Admitted by the policy and withheld by a rate.
    pub rate_limited: u64,
    /// Older frames that were taken back from full rings to make room.
    pub dropped: u64,
    /// Lost because a result could not be made.
    pub failed: u64,
}

/// Reaches zero once; then whoever waits is woken.
#[derive(Debug)]
struct Latch {
    left: AtomicUsize,
    waker: ArcSwapOption<Waker>,
}

impl Latch {
    fn new() -> Self {
        Self { left: AtomicUsize::new(1), waker: ArcSwapOption::empty() }
    }

    fn hold(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers whether this was the last one. The counter and the waker are sequentially consistent: either the
    /// waiter sees zero, or this sees the waiter's waker.
    fn release(&self) -> bool {
        let last = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && let Some(waker) = self.waker.swap(None) {
            waker.wake_by_ref();
        }
        last
    }

    fn is_open(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    fn on_open(&self, waker: Waker) {
        self.waker.store(Some(Arc::new(waker)));
        if self.is_open()
            && let Some(waker) = self.waker.swap(None)
        {
            waker.wake_by_ref();
        }
    }

    /// Spins `spins` times, then sleeps.
    fn wait(&self, spins: u32) {
        for _ in 0..spins {
            if self.is_open() {
                return;
            }
            std::hint::spin_loop();
        }
        self.on_open(notifier::unparker());
        while !self.is_open() {
            thread::park();
        }
    }
}

#[derive(Debug)]
struct State {
    /// Open when every delivery that needs no asynchronous resolver is readable.
    dispatched: Latch,
    /// Open when all deliveries are.
    done: Latch,
    matched: AtomicU64,
    delivered: AtomicU64,
    denied: AtomicU64,
    rate_limited: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    spins: u32,
}

/// The publisher's side: what became of its event.
///
/// Dropping it cancels nothing.
#[derive(Debug)]
pub struct Receipt(Arc<State>);

impl Receipt {
    pub(crate) fn new(spins: u32) -> (Self, Hold) {
        let zero = || AtomicU64::new(0);
        let state = Arc::new(State {
            dispatched: Latch::new(),
            done: Latch::new(),
            matched: zero(),
            delivered: zero(),
            denied: zero(),
            rate_limited: zero(),
            dropped: zero(),
            failed: zero(),
            spins,
        });
        (Self(Arc::clone(&state)), Hold { state, asynchronous: false })
    }

    /// Waits until every delivery that needs no asynchronous resolver is readable.
    pub fn wait(&self) -> Report {
        self.0.dispatched.wait(self.0.spins);
        self.report()
    }

    /// Waits for asynchronous resolvers too.
    pub fn wait_all(&self) -> Report {
        self.0.done.wait(self.0.spins);
        self.report()
    }

    /// The deliveries so far.
    pub fn report(&self) -> Report {
        let get = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let State { matched, delivered, denied, rate_limited, dropped, failed, .. } = &*self.0;
        Report {
            matched: get(matched),
            delivered: get(delivered),
            denied: get(denied),
            rate_limited: get(rate_limited),
            dropped: get(dropped),
            failed: get(failed),
        }
    }

    /// Whether every delivery that needs no asynchronous resolver is readable.
    pub fn is_dispatched(&self) -> bool {
        self.0.dispatched.is_open()
    }

    /// Whether everything is done, asynchronous resolvers too.
    pub fn is_done(&self) -> bool {
        self.0.done.is_open()
    }

    /// Wakes `waker` once everything is done; at once if it is. One waker a receipt: a second one replaces the first.
    pub fn on_done(&self, waker: Waker) {
        self.0.done.on_open(waker);
    }
}

/// The engine's side: while one is held, the event is on its way. Dropping it is what ends the wait, so nothing that
/// goes wrong on the way can leave a publisher waiting.
#[derive(Debug)]
pub(crate) struct Hold {
    state: Arc<State>,
    asynchronous: bool,
}

impl Hold {
    /// A hold that only the wait for everything waits for.
    pub(crate) fn asynchronous(&self) -> Self {
        self.state.done.hold();
        Self { state: Arc::clone(&self.state), asynchronous: true }
    }

    pub(crate) fn add(&self, report: &Report) {
        let add = |counter: &AtomicU64, count| {
            if count > 0 {
                counter.fetch_add(count, Ordering::AcqRel);
            }
        };
        add(&self.state.matched, report.matched);
        add(&self.state.delivered, report.delivered);
        add(&self.state.denied, report.denied);
        add(&self.state.rate_limited, report.rate_limited);
        add(&self.state.dropped, report.dropped);
        add(&self.state.failed, report.failed);
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        if self.asynchronous {
            return self.asynchronous();
        }
        self.state.dispatched.hold();
        Self { state: Arc::clone(&self.state), asynchronous: false }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.asynchronous || self.state.dispatched.release() {
            self.state.done.release();
        }
    }
}
