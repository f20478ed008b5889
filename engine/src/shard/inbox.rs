//! What enters a shard: published events, events from peer shards, and control messages.
//!
//! Three queues, because they have three bounds. Publishes wait for room (back-pressure). Forwards come from peers,
//! which must not wait for each other, so they are always taken. Control messages are bounded by what they are about
//! (one per subscriber, one per resolver's job) and never wait. Why flume: its bounded queue is drained in one go,
//! and a blocked publisher is woken by the drain.

use std::{fmt, sync::Arc, task::Waker, time::Duration};

use crossbeam::queue::SegQueue;

use super::{
    berth::Berth,
    receipt::Hold,
    resolve::Answer,
    resume::{Replay, Resume},
};
use crate::{
    event::{Event, Stamped},
    link::Link,
    notifier::Signal,
    payload::Payload,
    ring::Producer,
    router::Channel,
};

/// An event on its way to its channel's home shard.
pub(crate) struct Publish {
    pub(crate) channel: Arc<Channel>,
    pub(crate) event: Event,
    pub(crate) hold: Option<Hold>,
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
    /// A subscriber ends.
    Close { slot: u32, serial: u64 },
    /// A resolver answers.
    Answer(Answer),
    /// A subscription on a channel whose home this is wants what it missed.
    Resume(Resume),
    /// A reader has made room for what was kept aside.
    Refill { slot: u32, serial: u64 },
    /// Leave when everything accepted is done.
    Stop,
}

/// The senders' side, one for each shard; cheap to clone.
#[derive(Clone)]
pub(crate) struct Inbox {
    publishes: flume::Sender<Publish>,
    forwards: flume::Sender<Forward>,
    control: Arc<SegQueue<Control>>,
    signal: Arc<Signal>,
    berth: Arc<Berth>,
}

/// The shard's side.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    publishes: flume::Receiver<Publish>,
    forwards: flume::Receiver<Forward>,
    inbox: Inbox,
}

/// A shard's inbox, each queue with room for `capacity`; `waker` wakes the shard's thread.
pub(crate) fn inbox(capacity: usize, waker: Waker) -> (Inbox, Outlet) {
    let (publishes, publishes_out) = flume::bounded(capacity);
    let (forwards, forwards_out) = flume::bounded(capacity);
    let inbox = Inbox {
        publishes,
        forwards,
        control: Arc::new(SegQueue::new()),
        signal: Arc::new(Signal::new(waker)),
        berth: Arc::default(),
    };
    (inbox.clone(), Outlet { publishes: publishes_out, forwards: forwards_out, inbox })
}

/// Why a publish was not taken; a full inbox gives the event back.
pub(crate) enum Refused {
    Full(Box<Event>),
    Closed,
}

impl Inbox {
    /// Step 3 of the road: a bounded hand-over, or the event comes back. Call `run` or `wake` after it.
    pub(crate) fn offer(&self, publish: Publish) -> Result<(), Refused> {
        if self.berth.is_lost() {
            return Err(Refused::Closed);
        }
        self.publishes.try_send(publish).map_err(|error| match error {
            flume::TrySendError::Full(publish) => Refused::Full(Box::new(publish.event)),
            flume::TrySendError::Disconnected(_) => Refused::Closed,
        })
    }

    /// The same, but waits for room.
    pub(crate) fn offer_within(&self, publish: Publish, wait: Duration) -> Result<(), Refused> {
        if self.berth.is_lost() {
            return Err(Refused::Closed);
        }
        self.publishes.send_timeout(publish, wait).map_err(|error| match error {
            flume::SendTimeoutError::Timeout(publish) => Refused::Full(Box::new(publish.event)),
            flume::SendTimeoutError::Disconnected(_) => Refused::Closed,
        })
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

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.publishes.is_empty() && self.forwards.is_empty() && self.control.is_empty()
    }
}

impl Outlet {
    pub(crate) fn take_publishes(&self, into: &mut Vec<Publish>, max: usize) {
        take(&self.publishes, into, max);
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
        self.publishes.drain().for_each(drop);
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
