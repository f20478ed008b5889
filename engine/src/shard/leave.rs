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
    proves(20, &[Bug::Early], |bug| {
        let signals = [(); 2].map(|()| {
            let wakes = Arc::new(Wakes::default());
            (Signal::new(wakes.waker()), wakes)
        });
        // The order to stop has woken both.
        signals.iter().for_each(|(signal, _)| _ = signal.notify());
        let yard = Arc::new(Yard { signals, undrained: AtomicUsize::new(2), left: Unseen::new(0) });
        let other = Arc::clone(&yard);
        let other = thread::spawn(move || other.drive(1, bug));
        yard.drive(0, bug);
        join([other]);
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
    proves(5, &[Bug::Once], |bug| {
        let berth = Arc::new(Berth::default());
        let lost = AtomicBool::new(false);
        berth.moor(Toy(Witness::new()));
        let late = {
            let berth = Arc::clone(&berth);
            thread::spawn(move || _ = berth.step_until(|| false))
        };
        // `Driver::run`.
        while berth.with(|toy| toy.step(Millis(0))).is_none() {
            thread::yield_now();
        }
        while berth.unmoor().is_none() && bug.is_none() && !lost.load(Relaxed) {
            thread::yield_now();
        }
        join([late]);
        assert!(berth.unmoor().is_none(), "a shard that nobody will ever drop");
    });
}
