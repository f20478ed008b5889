//! A carrier in memory: several engines of one process as if each was a process of its own.
//!
//! For tests, and the shortest complete carrier to read. What is published crosses it in the same form as any other
//! carrier's, and a node that begins late gets the history from its first event that is kept.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use coulis::{
    bus::{Accepted, Bus, BusError, Health},
    cursor::Epoch,
    event::Event,
    id::Offset,
    limits::Limits,
};

use crate::{
    Locked,
    feed::{Arrived, Missed, Position, Sink},
    wire::{self, WireEvent},
};

/// What lies between the nodes.
#[derive(Clone)]
pub struct MemoryHub(Arc<Locked<Hub>>);

struct Hub {
    position: Position,
    history: VecDeque<(u64, Vec<u8>)>,
    history_max: usize,
    /// The ids in `history` that publishers gave.
    seen: HashSet<Box<str>>,
    nodes: Vec<Node>,
    next_node: u64,
}

struct Node {
    number: u64,
    limits: Limits,
    sink: Box<dyn Sink>,
    malformed: u64,
    received: u64,
}

/// One node's way to a [`MemoryHub`].
#[derive(Debug)]
pub struct MemoryBus {
    hub: MemoryHub,
    number: u64,
    limits: Limits,
}

impl MemoryHub {
    /// A hub that keeps the last `history_max` events for nodes that begin late.
    pub fn new(history_max: usize) -> Self {
        let position = Position { epoch: Epoch::random().0, offset: 0 };
        Self(Arc::new(Locked::new(Hub {
            position,
            history: VecDeque::new(),
            history_max,
            seen: HashSet::new(),
            nodes: Vec::new(),
            next_node: 1,
        })))
    }

    /// Begins a new history, as a carrier does that lost its events.
    pub fn lose_history(&self) {
        let mut hub = self.lock();
        let position = Position { epoch: Epoch::random().0, offset: 0 };
        hub.position = position;
        hub.history.clear();
        hub.seen.clear();
        hub.nodes.iter_mut().for_each(|node| node.sink.begin(position, Some(Missed { count: None })));
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryBus {
    /// Connects a node; `sink` gets what is kept of the history before this returns.
    pub fn start(hub: &MemoryHub, limits: Limits, mut sink: Box<dyn Sink>) -> Self {
        let mut locked = hub.lock();
        let Position { epoch, offset } = locked.position;
        let start = Position { epoch, offset: locked.history.front().map_or(offset, |first| first.0 - 1) };
        sink.begin(start, None);
        let number = locked.next_node;
        locked.next_node += 1;
        let mut node = Node { number, limits: limits.clone(), sink, malformed: 0, received: 0 };
        locked.history.iter().for_each(|(offset, bytes)| node.deliver(*offset, bytes));
        node.sink.caught_up();
        locked.nodes.push(node);
        drop(locked);
        Self { hub: hub.clone(), number, limits }
    }
}

impl Hub {
    fn append(&mut self, bytes: Vec<u8>, id: Option<&str>) -> Accepted {
        if id.is_some_and(|id| !self.seen.insert(id.into())) {
            return Accepted::default();
        }
        self.position.offset += 1;
        let Position { epoch, offset } = self.position;
        self.nodes.iter_mut().for_each(|node| node.deliver(offset, &bytes));
        self.history.push_back((offset, bytes));
        while self.history.len() > self.history_max {
            self.history.pop_front();
        }
        if self.seen.len() > 2 * self.history_max {
            self.seen.clear();
        }
        Accepted { offset: Some(Offset(offset)), epoch: Some(Epoch(epoch)) }
    }
}

impl Node {
    fn deliver(&mut self, offset: u64, bytes: &[u8]) {
        let event = wire::decode(bytes, &self.limits).ok().and_then(|wire| wire.event(&self.limits).ok());
        self.received += 1;
        match event {
            Some(event) => self.sink.deliver(vec![Arrived { offset, event }]),
            None => self.malformed += 1,
        }
    }
}

impl Bus for MemoryBus {
    fn publish(&self, event: &Event) -> Result<Accepted, BusError> {
        let refused = |reason: String| BusError { reason, transient: false, unknown: false };
        let mut hub = self.hub.lock();
        if !hub.nodes.iter().any(|node| node.number == self.number) {
            return Err(refused("the bus is closed".into()));
        }
        let own = format!("{}-{}", self.number, hub.position.offset);
        let bytes = wire::encode(&WireEvent::of(event, &own), &self.limits);
        Ok(hub.append(bytes.map_err(|error| refused(error.to_string()))?, event.id()))
    }

    fn health(&self) -> Health {
        let hub = self.hub.lock();
        let node = hub.nodes.iter().find(|node| node.number == self.number);
        node.map_or(Health::default(), |node| Health {
            connected: true,
            received: node.received,
            malformed: node.malformed,
            ..Health::default()
        })
    }

    fn close(&self, _patience: Duration) {
        self.hub.lock().nodes.retain(|node| node.number != self.number);
    }
}

impl Drop for MemoryBus {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

impl fmt::Debug for MemoryHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHub").finish_non_exhaustive()
    }
}
