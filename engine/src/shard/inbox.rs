//! What enters a shard: published events, events from peer shards, and control messages.
//!
//! Three queues, because they have three bounds. Publishes wait for [`Room`] (back-pressure), one by one or a batch. Forwards come from peers,
//! which must not wait for each other, so they are always taken. Control messages are bounded by what they are about
//! (one per subscriber, one per resolver's job) and never wait. Why flume: its bounded queue is drained in one go.

use std::{fmt, sync::Arc, task::Waker};

use crossbeam::queue::SegQueue;

use super::{
    berth::Berth,
    carried::Follow,
    group::Member,
    question::Question,
    receipt::Hold,
    resolve::Answer,
    resume::{Replay, Resume},
    room::Room,
};
use crate::{
    event::{Event, Stamped},
    id::Offset,
    limits::CONTROLS_LATER_MAX,
    link::Link,
    notifier::Signal,
    payload::Payload,
    ring::Producer,
    router::Channel,
    security::SecurityContext,
};

/// An event on its way to its channel's home shard.
pub(crate) struct Publish {
    pub(crate) channel: Arc<Channel>,
    pub(crate) event: Event,
    /// What its carrier says of it.
    pub(crate) carried: Option<Carried>,
    pub(crate) hold: Option<Hold>,
}

/// An event's place in the history of its carrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) offset: Offset,
    /// It is for the log alone: it was published before this engine followed the carrier.
    pub(crate) recalled: bool,
}

/// What a home shard sends to a shard that has readers, in the order of its log.
#[derive(Debug)]
pub(crate) enum Forward {
    /// A stamped event.
    Event(Arc<Stamped>, Option<Hold>),
    /// The events that a subscription missed.
    Replay(Box<Replay>),
}

/// What is not an event.
#[derive(Debug)]
pub(crate) enum Control {
    /// A subscriber begins.
    Open { slot: u32, serial: u64, ring: Producer<Payload>, link: crate::sync::Arc<Link> },
    /// A subscription whose deliveries have a rate begins, or has another context.
    Meter { member: Member, context: Arc<SecurityContext> },
    /// A subscriber ends.
    Close { slot: u32, serial: u64 },
    /// A resolver answers.
    Answer(Answer),
    /// A subscription on a channel whose home this is wants what it missed.
    Resume(Resume),
    /// A carrier's history begins, or goes on after a hole.
    Follow(Follow),
    /// An explanation asks.
    Ask(Question),
    /// A reader has made room for what was kept aside.
    Refill { slot: u32, serial: u64 },
    /// Leave when everything accepted is done; what resolvers owe is part of that, or lost at once.
    Stop { awaits_answers: bool },
}

/// The senders' side, one for each shard; cheap to clone.
#[derive(Clone)]
pub(crate) struct Inbox {
    publishes: flume::Sender<Published>,
    room: Arc<Room>,
    forwards: flume::Sender<Forward>,
    control: Arc<SegQueue<Control>>,
    signal: Arc<Signal>,
    berth: Arc<Berth>,
}

/// The shard's side.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    publishes: flume::Receiver<Published>,
    forwards: flume::Receiver<Forward>,
    inbox: Inbox,
}

/// A shard's inbox, each queue with room for `capacity`; `waker` wakes the shard's thread.
pub(crate) fn inbox(capacity: usize, waker: Waker) -> (Inbox, Outlet) {
    let (publishes, publishes_out) = flume::bounded(capacity);
    let (forwards, forwards_out) = flume::bounded(capacity);
    let inbox = Inbox {
        publishes,
        room: Arc::new(Room::new(capacity)),
        forwards,
        control: Arc::new(SegQueue::new()),
        signal: Arc::new(Signal::new(waker)),
        berth: Arc::default(),
    };
    (inbox.clone(), Outlet { publishes: publishes_out, forwards: forwards_out, inbox })
}

/// What one hand-over brings.
pub(crate) enum Published {
    One(Publish),
    /// Events of one publisher, in order.
    Many(Vec<Publish>),
}

impl Inbox {
    /// Room for the events that [`Inbox::send`] and [`Inbox::send_many`] bring.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Step 3 of the road: a hand-over for which room was taken. Call `run` or `wake` after it. `false` if the shard is
    /// gone; then it is dropped.
    pub(crate) fn send(&self, publish: Publish) -> bool {
        // The queue is as long as there is room, so it is never full.
        !self.berth.is_lost() && self.publishes.try_send(Published::One(publish)).is_ok()
    }

    /// The same for events of one publisher, in hand-overs of up to `at_once`.
    pub(crate) fn send_many(&self, mut publishes: Vec<Publish>, at_once: usize) -> bool {
        while publishes.len() > at_once {
            let rest = publishes.split_off(at_once);
            _ = self.publishes.try_send(Published::Many(std::mem::replace(&mut publishes, rest)));
        }
        !self.berth.is_lost() && self.publishes.try_send(Published::Many(publishes)).is_ok()
    }

    pub(crate) fn forward(&self, forward: Forward) -> Result<(), Forward> {
        self.forwards.try_send(forward).map_err(flume::TrySendError::into_inner)?;
        self.signal.notify();
        Ok(())
    }

    pub(crate) fn control(&self, control: Control) {
        self.control.push(control);
        self.signal.notify();
    }

    /// The same for what may wait until the shard has something else to do.
    pub(crate) fn control_later(&self, control: Control) {
        self.control.push(control);
    }

    /// The same for what may be so much, while the shard has nothing else to do, that it has to be bounded.
    pub(crate) fn control_at_leisure(&self, control: Control) {
        self.control.push(control);
        if self.controls() > CONTROLS_LATER_MAX {
            self.signal.notify();
        }
    }

    /// Control messages that wait.
    pub(crate) fn controls(&self) -> usize {
        self.control.len()
    }

    /// Has the shard's thread look at the inbox.
    pub(crate) fn wake(&self) {
        self.signal.notify();
    }

    /// Has the inbox worked off until `done`: by this thread if the shard is at rest, else by the shard's.
    pub(crate) fn run(&self, done: impl Fn() -> bool) {
        let _tell = TellOfPanic(&self.signal);
        if self.berth.step_until(done) {
            self.signal.notify();
        }
    }

    pub(crate) fn berth(&self) -> &Berth {
        &self.berth
    }

    /// Events that wait, or have room taken for them.
    pub(crate) fn waiting(&self) -> usize {
        self.room.taken() + self.forwards.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.publishes.is_empty() && self.forwards.is_empty() && self.control.is_empty()
    }
}

impl Outlet {
    /// Up to `max` events, or what one hand-over more brings.
    pub(crate) fn take_publishes(&self, into: &mut Vec<Publish>, max: usize) {
        let before = into.len();
        for published in self.publishes.try_iter() {
            match published {
                Published::One(publish) => into.push(publish),
                Published::Many(publishes) => into.extend(publishes),
            }
            if into.len() - before >= max {
                break;
            }
        }
        if into.len() > before {
            self.inbox.room.give(into.len() - before);
        }
    }

    pub(crate) fn take_forwards(&self, into: &mut Vec<Forward>, max: usize) {
        take(&self.forwards, into, max);
    }

    pub(crate) fn control(&self) -> Option<Control> {
        self.inbox.control.pop()
    }

    /// Before sleeping: what comes from now on wakes the shard; what is here already is seen by `is_empty`.
    pub(crate) fn arm(&self) {
        self.inbox.signal.arm();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Drops all that waits: who waits for it is told by its hold.
    pub(crate) fn discard(&self) {
        let mut publishes = Vec::new();
        self.take_publishes(&mut publishes, usize::MAX);
        self.forwards.drain().for_each(drop);
        while let Some(control) = self.inbox.control.pop() {
            if let Control::Open { link, .. } = control {
                link.end();
            }
        }
    }
}

/// A shard that panics in a publisher's hands leaves its thread to stand in for it.
struct TellOfPanic<'a>(&'a Signal);

impl Drop for TellOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.notify();
        }
    }
}

/// All that waits, in one go; if that is more than `max`, as many as that.
fn take<T>(from: &flume::Receiver<T>, into: &mut Vec<T>, max: usize) {
    if from.len() <= max {
        into.extend(from.drain());
    } else {
        into.extend(from.try_iter().take(max));
    }
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish").field("event", &self.event).finish_non_exhaustive()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("publishes", &self.publishes.len()).finish_non_exhaustive()
    }
}
