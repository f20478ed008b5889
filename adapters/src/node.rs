//! A node: an engine that follows a bus. What is published goes to the bus, comes back as any other node's events do,
//! and is dispatched once, in the bus's order.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use coulis::{
    bus::{Accepted, Bus, BusError, Health},
    cursor::Epoch,
    engine::{Engine, Missed, Receipt},
    event::Event,
    id::Offset,
};

use crate::{
    Locked,
    feed::{self, Arrived, Position, Sink},
};

/// How many receipts are kept beside as many as publishers wait for; of more, the oldest go.
const RECEIPTS_MAX: usize = 4_096;
/// Events that are handed to the engine at once.
const BATCH_EVENTS_MAX: usize = 512;

/// An engine and the bus that it follows.
#[derive(Debug)]
pub struct Node {
    engine: Engine,
    bus: Arc<dyn Bus>,
    dispatched: Arc<Dispatched>,
    wait_max: Duration,
}

impl Node {
    /// Has `engine` follow the bus that `start` makes, which gives to the sink that it gets. `wait_max`: how long a
    /// publish waits for its own event to come back.
    ///
    /// # Errors
    /// Those of `start`.
    pub fn start(
        engine: Engine,
        wait_max: Duration,
        start: impl FnOnce(Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError>,
    ) -> Result<Self, BusError> {
        let dispatched = Arc::<Dispatched>::default();
        let sink = EngineSink { engine: engine.clone(), last: None, dispatched: Arc::clone(&dispatched) };
        let bus = start(Box::new(sink))?;
        Ok(Self { engine, bus, dispatched, wait_max })
    }

    /// Publishes and waits until the bus has accepted the event and, for up to `wait_max`, until its deliveries here are
    /// readable. `None`: it was accepted, and has not come back yet, or was published before.
    ///
    /// # Errors
    /// The bus has not accepted it.
    pub fn publish(&self, event: &Event) -> Result<Option<Receipt>, BusError> {
        let expected = self.dispatched.expect(1);
        let accepted = self.bus.publish(event)?;
        Ok(expected.wait(accepted, self.wait_max))
    }

    /// The same for many events, in order; one answer for each.
    pub fn publish_many(&self, events: &[Event]) -> Vec<Result<Option<Receipt>, BusError>> {
        let deadline = Instant::now() + self.wait_max;
        let left = || deadline.saturating_duration_since(Instant::now());
        let expected = self.dispatched.expect(events.len());
        let accepted = self.bus.publish_many(events).into_iter();
        accepted.map(|accepted| Ok(expected.wait(accepted?, left()))).collect()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The bus.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// Waits until the engine has got the history that the bus keeps, and what comes is live; `false` if that takes
    /// longer than `patience`.
    pub fn wait_ready(&self, patience: Duration) -> bool {
        self.dispatched.wait_ready(patience)
    }

    /// How the bus is.
    pub fn health(&self) -> Health {
        self.bus.health()
    }

    /// Ends the bus, then the engine.
    pub fn close(&self, patience: Duration) {
        self.close_bus(patience);
        self.engine.close();
    }

    /// Ends the bus alone, and the wait of publishers whose events have not come back.
    pub fn close_bus(&self, patience: Duration) {
        self.bus.close(patience);
        self.dispatched.close();
    }
}

/// Gives a carrier's events to an engine.
struct EngineSink {
    engine: Engine,
    last: Option<Position>,
    dispatched: Arc<Dispatched>,
}

impl Sink for EngineSink {
    fn begin(&mut self, position: Position, missed: Option<feed::Missed>) {
        let first = self.last.is_none();
        let same = self.last.filter(|last| last.epoch == position.epoch);
        let from = same.map(|last| Offset(last.offset.saturating_add(1)));
        let missed = missed.map(|missed| Missed { from, count: missed.count });
        let (epoch, start) = (Epoch(position.epoch), Offset(position.offset));
        if first {
            // Who subscribed before there was a bus may have missed what was published meanwhile.
            let early =
                (self.engine.metrics().subscriptions > 0).then_some(Missed { from: None, count: None });
            self.engine.recall(epoch, start, missed.or(early));
        } else {
            self.engine.follow(epoch, start, missed);
        }
        self.last = Some(position);
        self.dispatched.begin(position);
    }

    fn caught_up(&mut self) {
        self.engine.recalled();
        self.dispatched.be_ready();
    }

    fn deliver(&mut self, mut events: Vec<Arrived>) {
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(BATCH_EVENTS_MAX));
            self.dispatch(std::mem::replace(&mut events, rest));
        }
    }
}

impl EngineSink {
    fn dispatch(&mut self, events: Vec<Arrived>) {
        let offsets: Vec<_> = events.iter().map(|arrived| Offset(arrived.offset)).collect();
        let events = events.into_iter().map(|Arrived { offset, event }| (Offset(offset), event)).collect();
        // A closed engine takes nothing more, and nobody reads it.
        let Ok(receipts) = self.engine.carry(events) else { return };
        for receipt in &receipts {
            receipt.wait();
        }
        self.dispatched.record(offsets.iter().copied().zip(receipts));
        if let (Some(last), Some(offset)) = (&mut self.last, offsets.last()) {
            last.offset = offset.0;
        }
    }
}

/// How far the engine has come, for publishers that wait for their own events.
#[derive(Default)]
struct Dispatched {
    state: Locked<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How often a history began, and which one it is.
    history: u64,
    epoch: Option<Epoch>,
    ready: bool,
    closed: bool,
    last: Offset,
    /// Until their publisher takes them.
    receipts: VecDeque<(Offset, Option<Receipt>)>,
    /// Events of publishers that are under way.
    expected: usize,
}

impl Dispatched {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, position: Position) {
        let mut state = self.lock();
        state.history += 1;
        state.epoch = Some(Epoch(position.epoch));
        state.last = Offset(position.offset);
        state.receipts.clear();
        self.changed.notify_all();
    }

    fn be_ready(&self) {
        self.lock().ready = true;
        self.changed.notify_all();
    }

    fn record(&self, receipts: impl Iterator<Item = (Offset, Receipt)>) {
        let mut state = self.lock();
        for (offset, receipt) in receipts {
            state.last = offset;
            state.receipts.push_back((offset, Some(receipt)));
        }
        // Nobody waits: nothing is kept.
        let wanted = if state.expected == 0 { 0 } else { RECEIPTS_MAX + state.expected };
        let surplus = state.receipts.len().saturating_sub(wanted);
        state.receipts.drain(..surplus);
        self.changed.notify_all();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Keeps the receipts of `count` events that a publisher is about to give to the bus.
    fn expect(&self, count: usize) -> Expected<'_> {
        let mut state = self.lock();
        state.expected += count;
        Expected { dispatched: self, count, history: state.history }
    }

    /// What became of an event that was accepted when `history` had begun, or later.
    fn wait(&self, history: u64, accepted: Accepted, patience: Duration) -> Option<Receipt> {
        let offset = accepted.offset?;
        let is_of = |state: &State| match accepted.epoch {
            Some(_) => state.epoch == accepted.epoch,
            None => state.history == history,
        };
        let waits = |state: &mut State| {
            !state.closed && if is_of(state) { state.last < offset } else { state.history == history }
        };
        let waited = self.changed.wait_timeout_while(self.lock(), patience, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !is_of(&state) {
            return None;
        }
        let at = state.receipts.binary_search_by_key(&offset, |receipt| receipt.0).ok()?;
        state.receipts[at].1.take()
    }

    fn wait_ready(&self, patience: Duration) -> bool {
        let waits = |state: &mut State| !state.ready && !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.ready
    }
}

/// What a publisher waits for.
struct Expected<'a> {
    dispatched: &'a Dispatched,
    count: usize,
    /// The one that had begun last.
    history: u64,
}

impl Expected<'_> {
    fn wait(&self, accepted: Accepted, patience: Duration) -> Option<Receipt> {
        self.dispatched.wait(self.history, accepted, patience)
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.dispatched.lock().expected -= self.count;
    }
}

impl fmt::Debug for Dispatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatched").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

    use std::thread;

    use coulis::{engine::SubscribeRequest, subscriber::SubscriberOptions};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_receipt_is_of_the_history_that_took_the_event() {
        let engine = Engine::builder().shards(1).build().unwrap();
        let mut reader = engine.open(SubscriberOptions::default()).unwrap();
        let (id, query) = ("s".into(), "subscription { old { id } }".into());
        engine.subscribe(&mut reader, SubscribeRequest { id, query, ..Default::default() }).unwrap();
        let receipt = |channel: &str| {
            engine.publish(Event::new("t", channel, "{}".into(), engine.limits()).unwrap()).unwrap()
        };
        let begin = |dispatched: &Dispatched, epoch, channel| {
            dispatched.begin(Position { epoch, offset: 0 });
            dispatched.record([(Offset(1), receipt(channel))].into_iter());
        };
        let accepted = |epoch| Accepted { offset: Some(Offset(1)), epoch };

        // Only who hears of the old history is delivered to.
        let dispatched = Dispatched::default();
        let early = dispatched.expect(1);
        begin(&dispatched, 1, "old");
        let expected = dispatched.expect(1);
        let found = thread::scope(|scope| {
            let waits = scope.spawn(|| expected.wait(accepted(Some(Epoch(2))), PATIENCE));
            begin(&dispatched, 2, "new");
            waits.join().unwrap().unwrap()
        });
        assert_eq!(found.report().delivered, 0);
        // The old one will not come any more, and is not waited for.
        assert!(expected.wait(accepted(Some(Epoch(1))), PATIENCE).is_none());
        assert!(expected.wait(accepted(None), PATIENCE).is_none());
        begin(&dispatched, 2, "old");
        let found = dispatched.expect(1).wait(accepted(None), PATIENCE).unwrap();
        assert_eq!(found.report().delivered, 1);
        // However much else comes meanwhile.
        begin(&dispatched, 3, "old");
        let many = dispatched.expect(RECEIPTS_MAX);
        let others = (2..2 * RECEIPTS_MAX as u64).map(|offset| (Offset(offset), receipt("new")));
        dispatched.record(others);
        assert_eq!(many.wait(accepted(None), PATIENCE).unwrap().report().delivered, 1);
        drop(many);
        // Nobody waits: nothing is kept.
        drop((early, expected));
        begin(&dispatched, 4, "old");
        assert!(dispatched.lock().receipts.is_empty());
    }
}
