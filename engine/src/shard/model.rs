//! The order of [`super::Shard::step`] under the model checker: a stand-in, because loom sees neither into
//! the queue nor into the snapshot.
//!
//! Each line of the stand-in names the line that it stands for; a change there must be made here, too.

use std::sync::Arc;

use crate::sync::{AtomicU64, AtomicUsize, Ordering, model::proves, thread};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    /// The snapshot is loaded before events are taken out.
    Snapshot,
    /// Control messages are taken before events are.
    Control,
    /// Frames are addressed by their lane, which is used again, and not by their subscription.
    Lane,
}

/// One shard and what the control plane has of it.
#[derive(Default)]
struct Toy {
    /// One slot for an event: 1 and the set of the shards that read its channel, or 0.
    inbox: AtomicU64,
    /// Readers that were announced.
    control: AtomicUsize,
    /// The number of the subscription in the index, or 0.
    index: AtomicU64,
    /// One slot of the reader's ring: the number of the subscription that a frame is for, or 0.
    ring: AtomicU64,
}

/// What an event meets in a step.
#[derive(Debug, PartialEq)]
struct Met {
    readers: usize,
    subscription: u64,
    shards: u64,
}

impl Toy {
    /// `ControlPlane::open`: a push to a queue.
    fn open(&self) {
        self.control.store(1, Ordering::Release);
    }

    /// `Directory::add` and `Directory::remove`: the snapshot's store, which is a swap.
    fn publish_index(&self, subscription: u64) {
        self.index.swap(subscription, Ordering::AcqRel);
    }

    /// `Inbox::offer` and `Inbox::forward`: a push to a queue.
    fn offer(&self, shards: u64) {
        // Not a plain store: beside a swap, loom lets one be lost.
        self.inbox.swap(1 + shards, Ordering::Release);
    }

    /// `Shard::step`.
    fn step(&self, bug: Option<Bug>) -> Option<Met> {
        // `Cache::load` compares the pointer with `Relaxed` first.
        let early = (bug == Some(Bug::Snapshot)).then(|| self.index.load(Ordering::Relaxed));
        let told = (bug == Some(Bug::Control)).then(|| self.control.load(Ordering::Acquire));
        let event = self.inbox.swap(0, Ordering::AcqRel);
        let readers = told.unwrap_or_else(|| self.control.load(Ordering::Acquire));
        let subscription = early.unwrap_or_else(|| self.index.load(Ordering::Relaxed));
        let shards = event.checked_sub(1)?;
        Some(Met { readers, subscription, shards })
    }
}

/// A registration that returned before an event was published is seen by that event, on the event's home shard ...
#[test]
fn loom_an_event_meets_what_was_registered_before_it() {
    proves(100, &[Bug::Snapshot, Bug::Control], |bug| {
        let home = Arc::new(Toy::default());
        let driver = {
            let home = Arc::clone(&home);
            thread::spawn(move || [home.step(bug), home.step(bug)])
        };
        home.open();
        home.publish_index(1);
        home.offer(0);
        let mut met = Vec::from(driver.join().unwrap());
        met.push(home.step(bug));
        met.retain(Option::is_some);
        assert_eq!(met, [Some(Met { readers: 1, subscription: 1, shards: 0 })]);
    });
}

/// ... and on a shard that gets it from there.
#[test]
fn loom_a_forwarded_event_meets_what_was_registered_before_it() {
    proves(100, &[Bug::Snapshot, Bug::Control], |bug| {
        let (home, peer) = (Arc::new(Toy::default()), Arc::new(Toy::default()));
        // The shards that read the channel: `Channel::set_reader`, `Router::readers`.
        let readers = AtomicU64::new(0);
        let driver = {
            let (home, peer) = (Arc::clone(&home), Arc::clone(&peer));
            thread::spawn(move || {
                let met = home.step(None);
                if let Some(Met { shards: 1, .. }) = met {
                    peer.offer(0);
                }
                met
            })
        };
        let other = {
            let peer = Arc::clone(&peer);
            thread::spawn(move || [peer.step(bug), peer.step(bug)])
        };
        peer.open();
        peer.publish_index(1);
        readers.fetch_or(1, Ordering::AcqRel);
        home.offer(readers.load(Ordering::Acquire));
        if driver.join().unwrap().is_none()
            && let Some(Met { shards: 1, .. }) = home.step(None)
        {
            peer.offer(0);
        }
        let mut met = Vec::from(other.join().unwrap());
        met.push(peer.step(bug));
        met.retain(Option::is_some);
        assert_eq!(met, [Some(Met { readers: 1, subscription: 1, shards: 0 })]);
    });
}

/// After `complete` returned nothing more of a subscription is delivered, not even to the next one in its lane.
#[test]
fn loom_after_complete_nothing_more_is_delivered() {
    proves(100, &[Bug::Lane], |bug| {
        let shard = Arc::new(Toy::default());
        shard.open();
        shard.publish_index(1);
        shard.offer(0);
        let driver = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Some(Met { subscription: number @ 1.., .. }) = shard.step(bug) {
                        shard.ring.swap(number, Ordering::Release);
                    }
                }
            })
        };
        // `Subscriber::complete`, and a new subscription that gets the lane.
        shard.publish_index(0);
        shard.publish_index(2);
        let active = 2;
        shard.offer(0);
        // `Subscriber::drain`: frames whose subscription is not active are discarded.
        let drain = || {
            let number = shard.ring.swap(0, Ordering::AcqRel);
            let delivered = number > 0 && (number == active || bug == Some(Bug::Lane));
            assert!(!delivered || number == active, "a frame of a subscription that was completed");
        };
        drain();
        driver.join().unwrap();
        drain();
    });
}
