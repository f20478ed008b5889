//! How pinned threads leave, under the model checker: a stand-in for [`super::drive`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize as Unseen, Ordering::Relaxed},
};

use super::berth::{Berth, Work};
use crate::{
    id::Millis,
    notifier::Signal,
    sync::{
        AtomicUsize, Ordering, Witness,
        model::{Wakes, join, proves},
        thread,
    },
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    /// Whether all have drained is asked before arming only.
    Early,
    /// The shard is put back before it is taken out for good, and that is tried once.
    Once,
    /// The last answer does not wake the shard's thread.
    Quiet,
    /// The thread is woken before it is late.
    Hasty,
}

struct Yard {
    signals: [(Signal, Arc<Wakes>); 2],
    undrained: AtomicUsize,
    left: Unseen,
}

impl Yard {
    /// `Driver::run` of a shard that was told to stop and has nothing to do.
    fn drive(&self, own: usize, bug: Option<Bug>) {
        let (signal, wakes) = &self.signals[own];
        let mut drained = false;
        loop {
            let heard = wakes.count();
            if !drained {
                drained = true;
                self.undrained.fetch_sub(1, Ordering::AcqRel);
                self.signals.iter().for_each(|(signal, _)| _ = signal.notify());
            }
            if bug.is_none() {
                signal.arm();
            }
            if self.undrained.load(Ordering::Acquire) == 0 {
                self.left.fetch_add(1, Relaxed);
                return;
            }
            if bug.is_some() {
                signal.arm();
            }
            while wakes.count() == heard {
                assert!(self.left.load(Relaxed) == 0, "asleep though all have drained");
                thread::yield_now();
            }
        }
    }
}

#[test]
fn loom_leave_all() {
    proves(100, &[Bug::Early], |bug| {
        let signals = [(); 2].map(|()| {
            let wakes = Arc::new(Wakes::default());
            (Signal::new(wakes.waker()), wakes)
        });
        // The order to stop has woken both.
        signals.iter().for_each(|(signal, _)| _ = signal.notify());
        let yard = Arc::new(Yard { signals, undrained: AtomicUsize::new(2), left: Unseen::new(0) });
        let (other, late) = (Arc::clone(&yard), Arc::clone(&yard));
        let other = thread::spawn(move || other.drive(1, bug));
        // Whoever rings for nothing, such as the end of a publish, must not use up the wake that counts.
        let late = thread::spawn(move || _ = late.signals[0].0.notify());
        yard.drive(0, bug);
        join([other, late]);
    });
}

/// A shard that has drained and waits for answers of resolvers.
struct Waiting {
    signal: Signal,
    wakes: Arc<Wakes>,
    berth: Berth<Toy>,
    asked: AtomicUsize,
    /// Who might wake it has finished.
    over: Unseen,
}

impl Waiting {
    fn new(asked: usize) -> Arc<Self> {
        let wakes = Arc::new(Wakes::default());
        let (signal, asked) = (Signal::new(wakes.waker()), AtomicUsize::new(asked));
        signal.notify();
        Arc::new(Self { signal, wakes, berth: Berth::default(), asked, over: Unseen::new(0) })
    }

    /// `Driver::run` once all have drained, with `Shard::may_leave`.
    fn drive(&self, others: usize, bug: Option<Bug>) {
        loop {
            let heard = self.wakes.count();
            if bug != Some(Bug::Early) {
                self.signal.arm();
            }
            if self.asked.load(Ordering::Relaxed) == 0 || self.berth.is_late() {
                return;
            }
            if bug == Some(Bug::Early) {
                self.signal.arm();
            }
            while self.wakes.count() == heard {
                assert!(self.over.load(Relaxed) < others, "asleep though it may leave");
                thread::yield_now();
            }
        }
    }

    /// `Job::answer` where the shard is at rest: it is stepped by this thread, and its own has to see that.
    fn answer(&self, bug: Option<Bug>) {
        self.asked.fetch_sub(1, Ordering::Relaxed);
        if bug != Some(Bug::Quiet) {
            self.signal.notify();
        }
        self.over.fetch_add(1, Relaxed);
    }

    /// `ControlPlane::be_late`.
    fn be_late(&self, bug: Option<Bug>) {
        if bug == Some(Bug::Hasty) {
            self.signal.notify();
        }
        self.berth.be_late();
        if bug != Some(Bug::Hasty) {
            self.signal.notify();
        }
        self.over.fetch_add(1, Relaxed);
    }
}

#[test]
fn loom_leave_after_the_last_answer() {
    proves(100, &[Bug::Early, Bug::Quiet], |bug| {
        let shard = Waiting::new(2);
        let answers = [(); 2].map(|()| {
            let shard = Arc::clone(&shard);
            thread::spawn(move || shard.answer(bug))
        });
        shard.drive(2, bug);
        join(answers);
    });
}

#[test]
fn loom_leave_when_it_is_late() {
    proves(100, &[Bug::Early, Bug::Hasty], |bug| {
        let shard = Waiting::new(2);
        let (answering, closing) = (Arc::clone(&shard), Arc::clone(&shard));
        let others =
            [thread::spawn(move || answering.answer(None)), thread::spawn(move || closing.be_late(bug))];
        shard.drive(2, bug);
        join(others);
    });
}

struct Toy(Witness);
impl Work for Toy {
    fn step(&mut self, _: Millis) -> bool {
        self.0.changed();
        false
    }
    fn is_idle(&self) -> bool {
        true
    }
}

#[test]
fn loom_leave_nothing_behind() {
    proves(100, &[Bug::Once], |bug| {
        let berth = Arc::new(Berth::default());
        let lost = AtomicBool::new(false);
        berth.moor(Toy(Witness::new()));
        let late = [(); 2].map(|()| {
            let berth = Arc::clone(&berth);
            thread::spawn(move || _ = berth.step_until(|| false))
        });
        // `Driver::run`.
        while berth.with(|toy| toy.step(Millis(0))).is_none() {
            thread::yield_now();
        }
        while berth.unmoor().is_none() && bug.is_none() && !lost.load(Relaxed) {
            thread::yield_now();
        }
        join(late);
        assert!(berth.unmoor().is_none(), "a shard that nobody will ever drop");
    });
}
