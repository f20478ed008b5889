//! Wakes a sleeper once for a batch, and tells it which subscribers have frames.
//!
//! Waking a thread costs 15 to 20 microseconds on both sides; a frame costs nanoseconds. So a wake is guarded by a
//! flag: the sleeper arms it *before* it looks for work, a producer takes it *after* it made work. Both use a swap,
//! so they are ordered on the flag: whichever comes second sees what the other did, and no wake is lost. (A plain
//! load on either side could miss; the model below explores both orders.)

use std::{
    fmt,
    sync::Arc,
    task::{Wake as TaskWake, Waker},
};

use arc_swap::ArcSwapOption;
use crossbeam::queue::SegQueue;

use crate::sync::{
    AtomicBool, Ordering,
    thread::{self, Thread},
};

/// A flag-guarded wake: many calls of [`Signal::notify`], one wake for each [`Signal::arm`].
#[derive(Debug)]
pub struct Signal {
    armed: AtomicBool,
    waker: Waker,
}

impl Signal {
    /// An armed signal that wakes through `waker`.
    pub fn new(waker: Waker) -> Self {
        Self { armed: AtomicBool::new(true), waker }
    }

    /// The sleeper's side: call it before looking for work; if none is found, sleeping is safe.
    pub fn arm(&self) {
        self.armed.swap(true, Ordering::AcqRel);
    }

    /// The producer's side: call it after making work. Answers whether it woke the sleeper.
    pub fn notify(&self) -> bool {
        let wake = self.armed.swap(false, Ordering::AcqRel);
        if wake {
            self.waker.wake_by_ref();
        }
        wake
    }
}

/// A waker that unparks the thread that asks for it ([`std::thread::park`] is the sleep).
pub fn unparker() -> Waker {
    struct Unpark(Thread);
    impl TaskWake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
        fn wake_by_ref(self: &Arc<Self>) {
            self.0.unpark();
        }
    }
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// One reading thread or event loop: its wake, and the tokens of its subscribers that have frames.
///
/// The list is bounded by the number of subscribers: each stands in it at most once.
pub struct Mailbox {
    signal: Signal,
    ready: SegQueue<u64>,
}

impl Mailbox {
    /// A mailbox whose reader sleeps until `waker` is called.
    pub fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { signal: Signal::new(waker), ready: SegQueue::new() })
    }

    /// Re-arms the wake, then names each subscriber that has frames, by its token; drain each of them.
    pub fn ready(&self, mut each: impl FnMut(u64)) {
        self.signal.arm();
        while let Some(token) = self.ready.pop() {
            each(token);
        }
    }

    /// Wakes the reader for something that is not a frame.
    pub fn nudge(&self) {
        self.signal.notify();
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

/// How a subscriber learns that it has frames.
#[derive(Clone, Debug, Default)]
pub enum Wake {
    /// It waits for them, as a thread or as a task.
    #[default]
    Waiter,
    /// It looks by itself: the cheapest way, nobody is woken.
    Polling,
    /// It shares a mailbox with others, in which it is called by this token.
    Mailbox(Arc<Mailbox>, u64),
}

/// The bell of one subscriber; its producer and its reader share it.
#[derive(Debug)]
pub(crate) enum Doorbell {
    /// For a reader that waits alone.
    Waiter(Signal, Arc<Waiter>),
    /// For a reader that polls.
    Silent,
    /// For one of many in a mailbox.
    Listed {
        mailbox: Arc<Mailbox>,
        token: u64,
        /// The token stands in the mailbox's list.
        listed: AtomicBool,
    },
}

/// Whoever waits for one subscriber's frames now.
#[derive(Debug, Default)]
pub(crate) struct Waiter(ArcSwapOption<Waker>);

impl TaskWake for Waiter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(waker) = &*self.0.load() {
            waker.wake_by_ref();
        }
    }
}

impl Doorbell {
    pub(crate) fn new(wake: Wake) -> Self {
        match wake {
            Wake::Polling => Self::Silent,
            Wake::Mailbox(mailbox, token) => Self::Listed { mailbox, token, listed: AtomicBool::new(false) },
            Wake::Waiter => {
                let waiter = Arc::new(Waiter::default());
                Self::Waiter(Signal::new(Waker::from(Arc::clone(&waiter))), waiter)
            }
        }
    }

    /// The producer's side, after pushing. Answers whether the reader was woken.
    pub(crate) fn ring(&self) -> bool {
        match self {
            Self::Silent => false,
            Self::Waiter(signal, _) => signal.notify(),
            Self::Listed { mailbox, token, listed } => {
                !listed.swap(true, Ordering::AcqRel) && {
                    mailbox.ready.push(*token);
                    mailbox.signal.notify()
                }
            }
        }
    }

    /// The reader's side, before draining: what is pushed from now on lists the token again.
    pub(crate) fn answer(&self) {
        if let Self::Listed { listed, .. } = self {
            listed.swap(false, Ordering::AcqRel);
        }
    }

    /// The reader's side, before it looks for frames and then sleeps: `waker` is called for what comes from now on.
    /// Answers whether it will be: else the reader has to look by itself.
    pub(crate) fn wait(&self, waker: &Waker) -> bool {
        let Self::Waiter(signal, waiter) = self else { return false };
        if !waiter.0.load().as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiter.0.store(Some(Arc::new(waker.clone())));
        }
        signal.arm();
        true
    }

    /// The reader stopped before its ring was empty: it lists itself again.
    pub(crate) fn remind(&self) {
        if let Self::Listed { .. } = self {
            self.ring();
        }
    }
}

#[cfg(all(test, not(coulis_loom)))]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl TaskWake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_frames_are_one_wake_and_one_token() {
        let count = Arc::new(Count::default());
        let mailbox = Mailbox::new(Waker::from(Arc::clone(&count)));
        let bells = [7, 8].map(|token| Doorbell::new(Wake::Mailbox(Arc::clone(&mailbox), token)));
        let ring_all = || bells.iter().chain(&bells).for_each(|bell| _ = bell.ring());
        let ready = || {
            let mut tokens = Vec::new();
            mailbox.ready(|token| tokens.push(token));
            tokens
        };
        ring_all();
        assert_eq!((count.0.load(Ordering::Relaxed), ready()), (1, vec![7, 8]));
        ring_all();
        assert_eq!((count.0.load(Ordering::Relaxed), ready()), (1, vec![]), "not answered: still listed");
        bells[1].answer();
        ring_all();
        assert_eq!((count.0.load(Ordering::Relaxed), ready()), (2, vec![8]));
    }
}

#[cfg(all(test, coulis_loom))]
mod model {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use loom::{sync::atomic::AtomicU64, thread};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl TaskWake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A sleeper that saw no work after arming must have been woken; `arm` is what the twin breaks.
    fn explore(arm: fn(&Signal)) -> usize {
        static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);
        EXECUTIONS.store(0, Relaxed);
        loom::model(move || {
            EXECUTIONS.fetch_add(1, Relaxed);
            let count = Arc::new(Count::default());
            let signal = Arc::new(Signal::new(Waker::from(Arc::clone(&count))));
            let work = Arc::new(AtomicU64::new(0));
            signal.notify();
            let before = count.0.load(Relaxed);
            let producer = {
                let (signal, work) = (Arc::clone(&signal), Arc::clone(&work));
                thread::spawn(move || {
                    work.store(1, Ordering::Relaxed);
                    signal.notify();
                })
            };
            arm(&signal);
            let seen = work.load(Ordering::Relaxed) == 1;
            producer.join().unwrap();
            assert!(seen || count.0.load(Relaxed) > before, "asleep with work waiting");
        });
        EXECUTIONS.load(Relaxed)
    }

    #[test]
    fn loom_no_wake_is_lost() {
        let executions = explore(Signal::arm);
        assert!(executions >= 5, "only {executions} executions explored");
        let twin = std::panic::catch_unwind(|| explore(|signal| signal.armed.store(true, Ordering::Relaxed)));
        assert!(twin.is_err(), "the seeded bug was not found");
    }
}
