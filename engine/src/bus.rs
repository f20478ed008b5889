//! The seam to carriers of events between processes.

use std::{fmt, time::Duration};

use crate::{cursor::Epoch, event::Event, id::Offset};

/// Why a bus did not take an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusError {
    /// What went wrong, for a person.
    pub reason: String,
    /// Whether trying again may help.
    pub transient: bool,
    /// Whether the carrier may have taken the event all the same: then only an event with an id may be sent again.
    pub unknown: bool,
}

/// What a carrier says of an event that it has accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Its place in the carrier's history, where the carrier tells.
    pub offset: Option<Offset>,
    /// The incarnation of that history, where the carrier tells.
    pub epoch: Option<Epoch>,
}

/// How a bus is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether the carrier answers now, for reading and for writing.
    pub connected: bool,
    /// What was wrong last.
    pub error: Option<String>,
    /// Times that the connection was lost.
    pub reconnects: u64,
    /// Events that wait to be accepted by the carrier.
    pub buffered: u64,
    /// Events that the carrier accepted from this process.
    pub accepted: u64,
    /// Events that were taken into the buffer, and that the carrier did not take or may not have taken, those that were
    /// left at the close among them: nobody waited for them.
    pub refused: u64,
    /// Events that came from the carrier.
    pub received: u64,
    /// What came and is no event: it was counted and left out.
    pub malformed: u64,
    /// Times that events were missed.
    pub gaps: u64,
    /// How long the carrier's oldest open writer holds events back, where it knows.
    pub held_back: Option<Duration>,
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for BusError {}

impl Health {
    /// Each count's name and value.
    pub fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("reconnects", self.reconnects),
            ("buffered", self.buffered),
            ("accepted", self.accepted),
            ("refused", self.refused),
            ("received", self.received),
            ("malformed", self.malformed),
            ("gaps", self.gaps),
        ]
    }
}

/// Carries events between processes. An adapter feeds what it receives to [`crate::engine::Engine::publish`]; a
/// process's own events come back the same way, so that they are dispatched once, in the bus's order.
///
/// An engine does not know its bus: a program that has one publishes there, and never directly.
///
/// # A carrier of one's own
///
/// Two engines stand for two processes, and a channel for what lies between them. A real carrier sends bytes: the
/// crate `coulis-adapters` has a versioned form of an event for that.
///
/// ```
/// use std::{error::Error, sync::mpsc, thread};
///
/// use coulis::bus::{Accepted, Bus, BusError};
/// use coulis::engine::{Engine, SubscribeRequest};
/// use coulis::event::Event;
/// use coulis::id::Identity;
/// use coulis::subscriber::{OwnedContent, SubscriberOptions};
///
/// /// What another process needs of an event: type, channel, JSON text, tenant, user.
/// type Carried = (String, String, String, Option<Identity>, Option<Identity>);
///
/// #[derive(Debug)]
/// struct Channel(mpsc::SyncSender<Carried>);
///
/// impl Bus for Channel {
///     fn publish(&self, event: &Event) -> Result<Accepted, BusError> {
///         let (event_type, channel) = (event.event_type().into(), event.channel().into());
///         let text = event.document().text().into();
///         let carried = (event_type, channel, text, event.tenant().cloned(), event.user().cloned());
///         self.0.try_send(carried).map(|()| Accepted::default()).map_err(|error| {
///             let transient = matches!(error, mpsc::TrySendError::Full(_));
///             BusError { reason: error.to_string(), transient, unknown: false }
///         })
///     }
/// }
///
/// /// What arrives is checked as any input is, against the bounds of this process.
/// fn feed(engine: &Engine, (event_type, channel, text, tenant, user): &Carried) -> Result<(), Box<dyn Error>> {
///     let event = Event::new(&**event_type, &**channel, text.clone().into(), engine.limits())?;
///     engine.publish(event.with_tenant(tenant.clone()).with_user(user.clone()))?.wait();
///     Ok(())
/// }
///
/// let engines = [Engine::builder().shards(1).build()?, Engine::builder().shards(1).build()?];
/// let mut readers = Vec::new();
/// for engine in &engines {
///     let mut reader = engine.open(SubscriberOptions::default())?;
///     let (id, query) = ("s".into(), "subscription { orders { id } }".into());
///     engine.subscribe(&mut reader, SubscribeRequest { id, query, ..Default::default() })?;
///     readers.push(reader);
/// }
/// let (sender, carried) = mpsc::sync_channel(1_024);
/// let (bus, nodes) = (Channel(sender), engines.clone());
/// let carrier = thread::spawn(move || {
///     for event in carried {
///         for engine in &nodes {
///             feed(engine, &event).unwrap_or_else(|error| eprintln!("refused: {error}"));
///         }
///     }
/// });
///
/// // The first process has two orders. It gives them to the bus, and not to its engine.
/// for document in [r#"{"id": 1}"#, r#"{"id": 2}"#] {
///     bus.publish(&Event::new("added", "orders", document.into(), engines[0].limits())?)?;
/// }
/// drop(bus);
/// carrier.join().expect("the carrier does not panic");
///
/// // They came back to it and reached the other one: once each, in one order.
/// for reader in &mut readers {
///     let mut offsets = Vec::new();
///     while let Some(message) = reader.try_next() {
///         let OwnedContent::Result(payload) = message.content else { panic!("{message:?}") };
///         offsets.push(payload.offset().0);
///     }
///     assert_eq!(offsets, [1, 2]);
/// }
/// # Ok::<(), Box<dyn Error>>(())
/// ```
pub trait Bus: Send + Sync + fmt::Debug {
    /// Hands an event to the carrier; when this returns, the carrier has accepted it.
    ///
    /// # Errors
    /// `BusError` if it has not.
    fn publish(&self, event: &Event) -> Result<Accepted, BusError>;

    /// The same for many events, in order and in as few round trips as the carrier allows; one answer for each.
    fn publish_many(&self, events: &[Event]) -> Vec<Result<Accepted, BusError>> {
        events.iter().map(|event| self.publish(event)).collect()
    }

    /// Leaves an event in the buffer of what is to be sent; the carrier may refuse it later, or the bus be closed
    /// before: both are counted as [`Health::refused`].
    ///
    /// # Errors
    /// `BusError` if there is no room.
    fn enqueue(&self, event: &Event) -> Result<(), BusError> {
        self.publish(event).map(|_| ())
    }

    /// How the connection to the carrier is.
    fn health(&self) -> Health {
        Health { connected: true, ..Health::default() }
    }

    /// Sends what is buffered, then ends the threads and connections of the bus, within `patience`. Safe to repeat.
    fn close(&self, patience: Duration) {
        _ = patience;
    }
}
