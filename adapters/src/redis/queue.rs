//! What waits to be sent: bounded in events and bytes, taken in batches, taken back when nobody waits any more.
//!
//! A lock and two conditions, since every operation is about many events at once: a batch that comes, a batch that
//! goes, the events of one call.

#![expect(clippy::disallowed_types, reason = "one lock for each batch, beside a network round trip")]

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use coulis::bus::{Accepted, BusError};

/// The answer to the event at a place in its call.
pub(super) type Answer = (usize, Result<Accepted, BusError>);

/// An event as it is sent.
#[derive(Debug)]
pub(super) struct Item {
    /// Its encoding.
    pub(super) bytes: Vec<u8>,
    /// The id that its publisher gave it.
    pub(super) id: Option<Box<str>>,
    /// Who waits for it.
    pub(super) waiting: Option<Waiting>,
}

/// A publisher that waits for an event.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The number of its call.
    pub(super) call: u64,
    /// The event's place in the call.
    pub(super) index: usize,
    /// Has room for the answers to all events of the call.
    pub(super) answers: flume::Sender<Answer>,
}

/// What there is for the writer.
#[derive(Debug)]
pub(super) enum Taken {
    Items(Vec<Item>),
    /// Nothing came in time.
    Idle,
    Ended,
}

/// Why there was no place for events, with those that had none.
#[derive(Debug)]
pub(super) enum Refused {
    Full(Vec<Item>),
    Closed(Vec<Item>),
}

#[derive(Debug)]
pub(super) struct Queue {
    events_max: usize,
    bytes_max: usize,
    inner: Mutex<Inner>,
    /// Something came, or the end.
    filled: Condvar,
    /// Something went.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    bytes: usize,
    /// Events that were taken and not settled.
    under_way: usize,
    /// How often events were taken.
    taken: u64,
    closed: bool,
    ended: bool,
}

impl Queue {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self {
            events_max,
            bytes_max,
            inner: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    /// Adds events in order, and waits for room up to `patience`, which begins anew whenever some went: in here, or to
    /// the server. What others take back is no sign that it goes on.
    pub(super) fn push(&self, items: Vec<Item>, patience: Duration) -> Result<(), Refused> {
        let mut items = items.into_iter().peekable();
        let mut inner = self.lock();
        let (mut until, mut taken) = (Instant::now() + patience, inner.taken);
        loop {
            let before = inner.items.len();
            while !inner.closed
                && let Some(item) = items.next_if(|item| self.fits(&inner, item))
            {
                inner.bytes += item.bytes.len();
                inner.items.push_back(item);
            }
            if inner.items.len() > before {
                self.filled.notify_one();
            }
            if inner.items.len() > before || inner.taken != taken {
                (until, taken) = (Instant::now() + patience, inner.taken);
            }
            if items.peek().is_none() {
                return Ok(());
            }
            if inner.closed {
                return Err(Refused::Closed(items.collect()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refused::Full(items.collect()));
            }
            inner = self.emptied.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Up to `events_max` events of up to `bytes_max` bytes, at least one; waits for the first.
    pub(super) fn take(&self, events_max: usize, bytes_max: usize, patience: Duration) -> Taken {
        let until = Instant::now() + patience;
        let mut inner = self.lock();
        while inner.items.is_empty() && !inner.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::Idle;
            }
            inner = self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if inner.ended {
            return Taken::Ended;
        }
        let (mut count, mut bytes) = (0, 0);
        for item in inner.items.iter().take(events_max) {
            if count > 0 && bytes + item.bytes.len() > bytes_max {
                break;
            }
            (count, bytes) = (count + 1, bytes + item.bytes.len());
        }
        let taken: Vec<_> = inner.items.drain(..count).collect();
        inner.bytes -= bytes;
        inner.under_way += taken.len();
        inner.taken += 1;
        self.emptied.notify_all();
        Taken::Items(taken)
    }

    /// `count` events that were taken are answered.
    pub(super) fn settled(&self, count: usize) {
        self.lock().under_way -= count;
        self.emptied.notify_all();
    }

    /// Takes back what is left of a call; answers the places of its events.
    pub(super) fn withdraw(&self, call: u64) -> Vec<usize> {
        let mut inner = self.lock();
        let mut places = Vec::new();
        let mut bytes = 0;
        inner.items.retain(|item| match &item.waiting {
            Some(waiting) if waiting.call == call => {
                places.push(waiting.index);
                bytes += item.bytes.len();
                false
            }
            _ => true,
        });
        inner.bytes -= bytes;
        self.emptied.notify_all();
        places
    }

    /// Events that wait or are under way.
    pub(super) fn pending(&self) -> usize {
        let inner = self.lock();
        inner.items.len() + inner.under_way
    }

    /// Takes no more events; waits up to `patience` until all that are here are settled.
    pub(super) fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut inner = self.lock();
        inner.closed = true;
        self.emptied.notify_all();
        while !inner.items.is_empty() || inner.under_way > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            inner = self.emptied.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends the writer home.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.ended = true;
        self.filled.notify_all();
    }

    /// Empties the queue; answers what nobody will send.
    pub(super) fn drain(&self) -> Vec<Item> {
        let mut inner = self.lock();
        inner.closed = true;
        inner.bytes = 0;
        self.emptied.notify_all();
        inner.items.drain(..).collect()
    }

    fn fits(&self, inner: &Inner, item: &Item) -> bool {
        let bytes = inner.bytes + item.bytes.len();
        inner.items.is_empty() || (inner.items.len() < self.events_max && bytes <= self.bytes_max)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn item(bytes: usize, call: u64, index: usize) -> Item {
        let (answers, _) = flume::bounded(1);
        Item { bytes: vec![0; bytes], id: None, waiting: Some(Waiting { call, index, answers }) }
    }

    fn items(count: usize) -> Vec<Item> {
        (0..count).map(|index| item(10, 1, index)).collect()
    }

    fn places(taken: Taken) -> Vec<usize> {
        let Taken::Items(items) = taken else { panic!("{taken:?}") };
        items.iter().map(|item| item.waiting.as_ref().unwrap().index).collect()
    }

    #[test]
    fn batches_are_bounded_by_events_and_bytes_but_one_event_always_fits() {
        let queue = Queue::new(10, 1_000);
        queue.push(items(5), Duration::ZERO).unwrap();
        assert_eq!(places(queue.take(2, 1_000, LONG)), [0, 1]);
        assert_eq!(places(queue.take(9, 20, LONG)), [2, 3]);
        assert_eq!(places(queue.take(9, 1, LONG)), [4]);
        assert!(matches!(queue.take(9, 1, Duration::ZERO), Taken::Idle));
        assert_eq!(queue.pending(), 5);
        queue.settled(5);
        assert_eq!(queue.pending(), 0);
    }

    #[test]
    fn a_full_queue_gives_back_what_has_no_room() {
        let queue = Queue::new(3, 1_000);
        let Err(Refused::Full(rest)) = queue.push(items(5), Duration::ZERO) else { panic!("all fit") };
        assert_eq!(rest.len(), 2);
        let queue = Queue::new(10, 25);
        let Err(Refused::Full(rest)) = queue.push(items(5), Duration::ZERO) else { panic!("all fit") };
        assert_eq!(rest.len(), 3);
        let queue = Queue::new(10, 25);
        queue.push(vec![item(100, 1, 0)], Duration::ZERO).unwrap();
    }

    #[test]
    fn others_that_give_up_do_not_make_anyone_wait_longer() {
        let queue = Queue::new(1, 1_000);
        queue.push(items(1), Duration::ZERO).unwrap();
        thread::scope(|scope| {
            let pusher = scope.spawn(|| queue.push(items(1), Duration::from_millis(20)));
            let begun = Instant::now();
            while !pusher.is_finished() {
                if begun.elapsed() > LONG {
                    queue.close(Duration::ZERO);
                }
                queue.withdraw(2);
            }
            assert!(matches!(pusher.join().unwrap(), Err(Refused::Full(_))));
        });
    }

    #[test]
    fn who_waits_for_room_gets_it() {
        let queue = Queue::new(2, 1_000);
        thread::scope(|scope| {
            let pusher = scope.spawn(|| queue.push(items(50), LONG));
            let mut seen = Vec::new();
            while seen.len() < 50 {
                seen.extend(places(queue.take(9, 1_000, LONG)));
            }
            assert_eq!(seen, (0..50).collect::<Vec<_>>());
            pusher.join().unwrap().unwrap();
        });
    }

    #[test]
    fn what_is_withdrawn_is_not_taken_and_leaves_room() {
        let queue = Queue::new(3, 1_000);
        queue.push(vec![item(10, 1, 0), item(10, 2, 0), item(10, 1, 1)], Duration::ZERO).unwrap();
        assert_eq!(queue.withdraw(1), [0, 1]);
        queue.push(vec![item(10, 3, 7), item(10, 3, 8)], Duration::ZERO).unwrap();
        assert_eq!(places(queue.take(9, 1_000, LONG)), [0, 7, 8]);
        assert_eq!(queue.withdraw(2), [0; 0]);
    }

    #[test]
    fn closing_waits_for_what_is_under_way_and_refuses_the_rest() {
        let queue = Queue::new(3, 1_000);
        queue.push(items(2), Duration::ZERO).unwrap();
        thread::scope(|scope| {
            let closer = scope.spawn(|| queue.close(LONG));
            assert_eq!(places(queue.take(9, 1_000, LONG)), [0, 1]);
            assert!(!closer.is_finished());
            queue.settled(2);
            closer.join().unwrap();
        });
        assert!(matches!(queue.push(items(1), LONG), Err(Refused::Closed(rest)) if rest.len() == 1));
        queue.end();
        assert!(queue.drain().is_empty());
        assert!(matches!(queue.take(9, 1_000, LONG), Taken::Ended));
    }
}
