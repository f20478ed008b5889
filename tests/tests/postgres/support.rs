//! A sink that remembers, and short ways to a bus.

#![expect(clippy::disallowed_types, reason = "what a test remembers")]

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use coulis::{bus::Bus as _, event::Event, id::Identity, limits::Limits};
use coulis_adapters::{
    feed::{Arrived, Missed, Position, Sink},
    postgres::{PostgresBus, PostgresConfig},
};
use coulis_tests::servers::{postgres::Postgres, until};

/// What a node was brought. Clones share it.
#[derive(Clone, Default)]
pub struct Seen(Arc<(Mutex<Inner>, Condvar)>);

#[derive(Default)]
struct Inner {
    begins: Vec<(Position, Option<Missed>)>,
    events: Vec<(u64, Event)>,
    /// How much had begun and come when this node had caught up.
    caught_up: Vec<(usize, usize)>,
    shut: bool,
    /// Whether somebody waits before the gate.
    waiting: bool,
}

impl Sink for Seen {
    fn begin(&mut self, position: Position, missed: Option<Missed>) {
        self.lock().begins.push((position, missed));
    }

    fn caught_up(&mut self) {
        let mut inner = self.lock();
        let so_far = (inner.begins.len(), inner.events.len());
        inner.caught_up.push(so_far);
    }

    fn deliver(&mut self, events: Vec<Arrived>) {
        let mut inner = self.lock();
        while inner.shut {
            inner.waiting = true;
            inner = self.0.1.wait(inner).unwrap();
        }
        inner.waiting = false;
        inner.events.extend(events.into_iter().map(|arrived| (arrived.offset, arrived.event)));
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.0.lock().unwrap()
    }

    /// Keeps the node from taking events.
    pub fn shut(&self) {
        self.lock().shut = true;
    }

    /// Whether events wait before the node.
    pub fn is_waiting(&self) -> bool {
        self.lock().waiting
    }

    pub fn open(&self) {
        self.lock().shut = false;
        self.0.1.notify_all();
    }

    pub fn begins(&self) -> Vec<(Position, Option<Missed>)> {
        self.lock().begins.clone()
    }

    /// How much had begun and come each time that the node was told that it has caught up.
    pub fn caught_up(&self) -> Vec<(usize, usize)> {
        self.lock().caught_up.clone()
    }

    pub fn len(&self) -> usize {
        self.lock().events.len()
    }

    pub fn offsets(&self) -> Vec<u64> {
        self.lock().events.iter().map(|(offset, _)| *offset).collect()
    }

    pub fn ids(&self) -> Vec<String> {
        self.lock().events.iter().map(|(_, event)| event.id().unwrap().to_owned()).collect()
    }

    /// The documents, in their order.
    pub fn data(&self) -> Vec<String> {
        self.lock().events.iter().map(|(_, event)| event.document().text().to_owned()).collect()
    }

    /// `type channel data before tenant user` of each event, `-` for what is not there.
    pub fn lines(&self) -> Vec<String> {
        let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let line = |event: &Event| {
            let before = or_none(event.before().map(coulis::value::Document::text));
            let identity = |identity: Option<&Identity>| or_none(identity.map(Identity::as_str));
            let (tenant, user) = (identity(event.tenant()), identity(event.user()));
            let (event_type, channel, data) = (event.event_type(), event.channel(), event.document().text());
            format!("{event_type} {channel} {data} {before} {tenant} {user}")
        };
        self.lock().events.iter().map(|(_, event)| line(event)).collect()
    }

    /// The documents, once there are `count`.
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        until(&format!("{count} events"), || self.len() >= count);
        self.data()
    }
}

/// Settings for a server.
pub fn config(server: &Postgres) -> PostgresConfig {
    PostgresConfig::new(server.url())
}

/// A bus with these settings and what its node sees.
pub fn start(config: PostgresConfig) -> (PostgresBus, Seen) {
    let seen = Seen::default();
    (start_for(&seen, config), seen)
}

/// A bus that brings to `seen`.
pub fn start_for(seen: &Seen, config: PostgresConfig) -> PostgresBus {
    PostgresBus::start(config, Limits::default(), Box::new(seen.clone())).unwrap()
}

/// The same, connected.
pub fn connected(config: PostgresConfig) -> (PostgresBus, Seen) {
    let (bus, seen) = start(config);
    until("the bus is connected", || bus.health().connected);
    (bus, seen)
}

/// A session of a user.
pub fn session(server: &Postgres) -> postgres::Client {
    postgres::Client::connect(&server.url(), postgres::NoTls).unwrap()
}

/// An event of channel `c`.
pub fn event(document: &str) -> Event {
    Event::new("t", "c", document.into(), &Limits::default()).unwrap()
}

/// The same with an id.
pub fn named(id: &str, document: &str) -> Event {
    event(document).with_id(id, &Limits::default()).unwrap()
}

/// Closes the bus and sees that no session of it is left.
pub fn close(bus: &PostgresBus, server: &Postgres) {
    bus.close(Duration::from_secs(10));
    until("no session is left", || {
        server.sql("select count(*) from pg_stat_activity where application_name = 'coulis'") == "0"
    });
}
