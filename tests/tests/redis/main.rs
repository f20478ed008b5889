//! The Redis bus against real servers: what it carries, what it does when they fail, whom it lets in.

#![expect(clippy::disallowed_types, reason = "a test reads what a sink wrote")]

mod access;
mod campaign;
mod carry;
mod faults;
mod foreign;
mod history;
mod pubsub;

use std::{
    ops::Deref,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coulis::{bus::Bus as _, event::Event, limits::Limits};
use coulis_adapters::{
    feed::{Arrived, Missed, Position, Sink},
    redis::{RedisBus, RedisConfig},
};
use coulis_tests::{
    event,
    servers::{GUARD, holds_within, redis::Redis, until},
};

/// What came to a sink.
#[derive(Clone, Default)]
pub struct Record(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Default)]
pub struct Seen {
    /// Whether deliveries have to wait, and whether one does.
    shut: bool,
    waiting: bool,
    pub begins: Vec<(Position, Option<Missed>)>,
    pub arrived: Vec<(Position, Event)>,
    /// How much had begun and arrived when the sink was told that the node has caught up.
    pub caught_up: Vec<(usize, usize)>,
}

impl Record {
    /// A record whose sink has no room until it is opened.
    pub fn shut() -> Self {
        let record = Self::default();
        record.seen().shut = true;
        record
    }

    pub fn shut_again(&self) {
        self.seen().shut = true;
    }

    pub fn open(&self) {
        self.seen().shut = false;
        self.0.1.notify_all();
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The documents that came, as texts.
    pub fn texts(&self) -> Vec<String> {
        self.seen().arrived.iter().map(|(_, event)| event.document().text().to_owned()).collect()
    }

    /// The documents that came, as numbers.
    pub fn numbers(&self) -> Vec<u64> {
        self.texts().iter().map(|text| text.parse().expect("a number")).collect()
    }

    pub fn count(&self) -> usize {
        self.seen().arrived.len()
    }

    /// The beginnings that told of missed events.
    pub fn missed(&self) -> Vec<(Position, Missed)> {
        self.seen().begins.iter().filter_map(|(position, missed)| Some((*position, (*missed)?))).collect()
    }

    /// Where the sink is.
    pub fn epoch(&self) -> u64 {
        self.seen().begins.last().expect("a beginning").0.epoch
    }

    /// Whether a delivery waits.
    pub fn is_waiting(&self) -> bool {
        self.seen().waiting
    }

    pub fn caught_up(&self) -> Vec<(usize, usize)> {
        self.seen().caught_up.clone()
    }

    pub fn wait_for(&self, count: usize) {
        until(&format!("{count} events arrive"), || self.count() >= count);
    }
}

impl Sink for Record {
    fn begin(&mut self, position: Position, missed: Option<Missed>) {
        self.seen().begins.push((position, missed));
    }

    fn caught_up(&mut self) {
        let mut seen = self.seen();
        let so_far = (seen.begins.len(), seen.arrived.len());
        seen.caught_up.push(so_far);
    }

    fn deliver(&mut self, events: Vec<Arrived>) {
        let waits = |seen: &mut Seen| {
            seen.waiting = seen.shut;
            seen.shut
        };
        let mut seen = self.0.1.wait_while(self.seen(), waits).expect("a record");
        let mut at = seen.begins.last().expect("a beginning first").0;
        if let Some((last, _)) = seen.arrived.last().filter(|(last, _)| last.epoch == at.epoch) {
            at.offset = at.offset.max(last.offset);
        }
        for Arrived { offset, event } in events {
            assert!(offset > at.offset, "{offset} after {at:?}");
            at.offset = offset;
            seen.arrived.push((at, event));
        }
    }
}

/// A bus with the record of its sink.
pub struct Node {
    pub bus: RedisBus,
    pub record: Record,
}

impl Node {
    pub fn start(config: RedisConfig) -> Self {
        Self::with_record(config, Record::default())
    }

    pub fn with_record(config: RedisConfig, record: Record) -> Self {
        let bus = RedisBus::start(config, Limits::default(), Box::new(record.clone())).expect("a bus");
        Self { bus, record }
    }

    /// A bus that is connected.
    pub fn of(server: &Redis) -> Self {
        let node = Self::start(config(server.port()));
        node.connected();
        node
    }

    pub fn connected(&self) {
        let connected = holds_within(GUARD, || self.bus.health().connected);
        assert!(connected, "{:?}", self.bus.health());
    }

    pub fn disconnected(&self) {
        until("the bus knows that it is not connected", || !self.bus.health().connected);
    }

    /// Publishes numbers as documents.
    pub fn publish(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.bus.publish(&numbered(number)).unwrap_or_else(|error| panic!("{number}: {error:?}"));
        }
    }
}

impl Deref for Node {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

/// Settings for a server on a port, with waits that let a test see the end of them.
pub fn config(port: u16) -> RedisConfig {
    RedisConfig {
        answer_wait_max: Duration::from_secs(1),
        block_max: Duration::from_millis(300),
        publish_wait_max: Duration::from_secs(20),
        ..RedisConfig::new(format!("redis://127.0.0.1:{port}"), "shop")
    }
}

pub fn numbered(number: u64) -> Event {
    event("orders", &number.to_string())
}
