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
    use super::*;
    use crate::sync::{
        AtomicU64,
        model::{join, proves},
    };

    /// Counts wakes where loom sees it: a sleeper that was woken before it looks is another case than one that is woken
    /// after. It orders nothing.
    struct Wakes(AtomicU64);

    impl Wakes {
        fn new() -> Arc<Self> {
            Arc::new(Self(AtomicU64::new(0)))
        }

        fn count(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl TaskWake for Wakes {
        fn wake(self: Arc<Self>) {
            self.wake_by_ref();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Bug {
        /// The sleeper arms without any order.
        Arm,
        /// The sleeper looks for work before it arms.
        Look,
        /// A producer notifies before it made work.
        Notify,
    }

    /// A sleeper that did not see all work after its last arming must have been woken since.
    #[test]
    fn loom_no_wake_is_lost() {
        proves(100, &[Bug::Arm, Bug::Look, Bug::Notify], |bug| {
            let wakes = Wakes::new();
            let signal = Arc::new(Signal::new(Waker::from(Arc::clone(&wakes))));
            let work = Arc::new([(); 2].map(|()| AtomicU64::new(0)));
            signal.notify();
            let producers = [0, 1].map(|own| {
                let (signal, work) = (Arc::clone(&signal), Arc::clone(&work));
                thread::spawn(move || {
                    if bug == Some(Bug::Notify) {
                        signal.notify();
                    }
                    work[own].store(1, Ordering::Relaxed);
                    if bug != Some(Bug::Notify) {
                        signal.notify();
                    }
                })
            });
            let look = || work.iter().all(|work| work.load(Ordering::Relaxed) == 1);
            let (mut seen, mut before) = (false, 0);
            for _ in 0..2 {
                before = wakes.count();
                if bug == Some(Bug::Look) {
                    seen = look();
                }
                match bug {
                    Some(Bug::Arm) => signal.armed.store(true, Ordering::Relaxed),
                    _ => signal.arm(),
                }
                if bug != Some(Bug::Look) {
                    seen = look();
                }
            }
            join(producers);
            assert!(seen || wakes.count() > before, "asleep with work waiting");
        });
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Lost {
        /// A reader looks for frames before it answers its bell.
        Look,
        /// A token is listed before its frame is there.
        Ring,
    }

    /// A frame that the reader of a mailbox did not see is in the list, and the reader was woken for it.
    #[test]
    fn loom_no_token_is_lost() {
        proves(100, &[Lost::Look, Lost::Ring], |bug| {
            let wakes = Wakes::new();
            let mailbox = Mailbox::new(Waker::from(Arc::clone(&wakes)));
            mailbox.nudge();
            let bells =
                Arc::new([0, 1].map(|token| {
                    (Doorbell::new(Wake::Mailbox(Arc::clone(&mailbox), token)), AtomicU64::new(0))
                }));
            let producers = [0, 1].map(|own: usize| {
                let bells = Arc::clone(&bells);
                thread::spawn(move || {
                    let (bell, frames) = &bells[own];
                    if bug == Some(Lost::Ring) {
                        bell.ring();
                    }
                    frames.store(1, Ordering::Relaxed);
                    if bug != Some(Lost::Ring) {
                        bell.ring();
                    }
                })
            });
            let (mut seen, mut before) = ([0; 2], 0);
            let drain = |seen: &mut [u64; 2]| {
                mailbox.ready(|token| {
                    let (bell, frames) = &bells[token as usize];
                    if bug != Some(Lost::Look) {
                        bell.answer();
                    }
                    seen[token as usize] = frames.load(Ordering::Relaxed);
                    if bug == Some(Lost::Look) {
                        bell.answer();
                    }
                });
            };
            for _ in 0..2 {
                before = wakes.count();
                drain(&mut seen);
            }
            join(producers);
            assert!(seen == [1; 2] || wakes.count() > before, "asleep with a frame waiting");
            drain(&mut seen);
            assert_eq!(seen, [1; 2], "awake, and not told whose frame it is");
        });
    }
}
