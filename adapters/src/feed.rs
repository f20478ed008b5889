//! What a carrier brings to a node: a position, and the events that come after it.
//!
//! Every node reads every event, in the carrier's order, with a position of its own. A position is an epoch (which
//! incarnation of the carrier's history) and an offset, which grows from event to event and is the same on every node;
//! so a client's cursor holds on all of them. What was missed is told before what follows it, never skipped.

use coulis::event::Event;

/// A place in a carrier's history: everything up to `offset` was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The incarnation of the history; another one has nothing in common with this.
    pub epoch: u64,
    /// The last event that was read; 0 before the first.
    pub offset: u64,
}

/// Events that a node will never get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// How many, where the carrier can tell.
    pub count: Option<u64>,
}

/// An event from a carrier.
#[derive(Debug)]
pub struct Arrived {
    /// Above that of the event before.
    pub offset: u64,
    /// The event; its id is the one that its publisher, or its publisher's bus, gave it.
    pub event: Event,
}

/// Takes what a carrier brings, on the carrier's reading thread.
pub trait Sink: Send {
    /// What follows comes after `position`; called before the first event, and whenever the history does not go on where
    /// it was. With `missed`, events that this node has not seen lie before `position`, or in an epoch that is lost.
    fn begin(&mut self, position: Position, missed: Option<Missed>);

    /// What was delivered since the first `begin` was published before this node came: it is kept for clients that
    /// resume, and no subscription gets it. What is delivered from now on is live. Called once.
    fn caught_up(&mut self) {}

    /// Events in the carrier's order. Waits for room: this is how a node that is behind slows its reading.
    fn deliver(&mut self, events: Vec<Arrived>);
}
