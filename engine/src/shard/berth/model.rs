//! The berth and the signal under the model checker: work that was put into the inbox is done, whoever has the shard.
//!
//! The inbox is a counter without any order of its own, so that only the berth and the signal can order.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::{
    id::Millis,
    notifier::Signal,
    sync::{
        AtomicUsize, Witness,
        model::{Wakes, join, proves},
        thread,
    },
};

use super::{Berth, Work};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    /// A publisher that finds the shard taken does not ring.
    Silent,
    /// The pinned thread looks into the inbox before it arms.
    Unarmed,
}

/// A shard that only counts.
struct Toy {
    quay: Arc<Quay>,
    done: usize,
    /// The shard's own state: two who have it at once are a data race.
    own: Witness,
}

impl Work for Toy {
    fn step(&mut self, _: Millis) -> bool {
        self.own.changed();
        let taken = self.quay.inbox.swap(0, Relaxed);
        self.done += taken;
        taken > 0
    }

    fn is_idle(&self) -> bool {
        self.own.used();
        self.quay.inbox.load(Relaxed) == 0
    }
}

struct Quay {
    inbox: AtomicUsize,
    berth: Berth<Toy>,
    signal: Signal,
    /// What wakes the pinned thread; unseen by loom, like what ends it: being woken orders nothing.
    wakes: Arc<Wakes>,
    over: AtomicBool,
}

impl Quay {
    fn new() -> Arc<Self> {
        let (inbox, wakes) = (AtomicUsize::new(0), Arc::new(Wakes::default()));
        let signal = Signal::new(wakes.waker());
        let over = AtomicBool::new(false);
        let quay = Arc::new(Self { inbox, berth: Berth::default(), signal, wakes, over });
        // The first arming is used up: the pinned thread is awake.
        quay.signal.notify();
        quay.berth.moor(Toy { quay: Arc::clone(&quay), done: 0, own: Witness::new() });
        quay
    }

    /// `Inbox::offer` and `Inbox::run`.
    fn publish(&self, bug: Option<Bug>) {
        self.inbox.fetch_add(1, Relaxed);
        let needed = self.berth.step_until(|| true);
        if needed && bug != Some(Bug::Silent) {
            self.signal.notify();
        }
    }

    /// `Driver::run`, until it sleeps after all is over.
    fn drive(&self, bug: Option<Bug>) {
        loop {
            let heard = self.wakes.count();
            if self.berth.with(|toy| self.turn(toy, bug)) != Some(true) {
                thread::yield_now();
                continue;
            }
            while self.wakes.count() == heard {
                if self.over.load(Relaxed) {
                    return;
                }
                thread::yield_now();
            }
        }
    }

    /// `Driver::turn`: may it sleep?
    fn turn(&self, toy: &mut Toy, bug: Option<Bug>) -> bool {
        while toy.step(Millis(0)) {}
        let before = toy.is_idle();
        self.signal.arm();
        if bug == Some(Bug::Unarmed) { before } else { toy.is_idle() }
    }
}

/// `publishers` threads publish `events` each while the pinned thread runs; then nothing must be left.
fn model(publishers: usize, events: usize, bug: Option<Bug>) {
    let quay = Quay::new();
    let pinned = {
        let quay = Arc::clone(&quay);
        thread::spawn(move || quay.drive(bug))
    };
    let publish = move |quay: &Quay| (0..events).for_each(|_| quay.publish(bug));
    let others = (1..publishers).map(|_| Arc::clone(&quay)).map(|quay| thread::spawn(move || publish(&quay)));
    let others: Vec<_> = others.collect();
    publish(&quay);
    join(others);
    quay.over.store(true, Relaxed);
    join([pinned]);
    let toy = quay.berth.unmoor().expect("nobody has the shard");
    assert_eq!(toy.done, publishers * events, "asleep with work waiting");
}

#[test]
fn loom_work_for_a_shard_that_is_taken_is_not_lost() {
    proves(100, &[Bug::Silent, Bug::Unarmed], |bug| model(1, 2, bug));
}

#[test]
fn loom_two_publishers_and_the_pinned_thread_leave_nothing() {
    proves(100, &[Bug::Silent], |bug| model(2, 1, bug));
}
