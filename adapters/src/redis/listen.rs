//! The reading thread without a history: what the server passes on while this node listens.
//!
//! Positions are this node's own. Their epoch begins anew with each connection, since nobody can tell what was missed
//! in between.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use coulis::cursor::Epoch;
use redis::{Value, cmd};

use super::{
    config::Settings,
    entry,
    link::{Link, Trouble, shown},
    pubsub::Producers,
    shared::{Shared, Side},
};
use crate::{
    feed::{Arrived, Missed, Position, Sink},
    retry::Backoff,
};

pub(super) struct Listener {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    sink: Box<dyn Sink>,
    producers: Producers,
    at: Position,
}

impl Listener {
    pub(super) fn new(settings: Arc<Settings>, shared: Arc<Shared>, sink: Box<dyn Sink>) -> Self {
        let at = Position { epoch: 0, offset: 0 };
        Self { settings, shared, sink, producers: Producers::default(), at }
    }

    /// Works until the end of the bus.
    pub(super) fn run(mut self) {
        let mut backoff = Backoff::default();
        while !self.shared.is_over() {
            let Err(trouble) = self.session(&mut backoff) else { break };
            self.shared.down(Side::Read, trouble);
            self.shared.wait(backoff.wait());
        }
    }

    fn session(&mut self, backoff: &mut Backoff) -> Result<(), Trouble> {
        let config = &self.settings.config;
        let keep = |closer| self.shared.connecting(Side::Read, closer);
        let mut link = Link::open(&self.settings.address, config.answer_wait_max, keep)?;
        link.ask(cmd("SUBSCRIBE").arg(&self.settings.stream))?;
        self.producers.connected();
        let missed = (self.at.epoch > 0).then_some(Missed { count: None });
        // Of this node alone: nobody may resume elsewhere by it.
        self.begin(Position { epoch: Epoch::random().0, offset: 0 }, missed);
        if missed.is_none() {
            self.sink.caught_up();
        }
        self.shared.up(Side::Read);
        *backoff = Backoff::default();
        let mut asked = false;
        while !self.shared.is_over() {
            match link.receive() {
                // While a script runs the server refuses even a PING: it is there, and nothing is published.
                Ok(Value::ServerError(error)) if error.code() == "BUSY" => asked = false,
                Ok(Value::ServerError(error)) => return Err(Trouble::Broken(shown(&error))),
                Ok(answer) => {
                    asked = false;
                    self.take(&answer);
                }
                Err(Trouble::Silent) if !asked => {
                    link.send(&cmd("PING").get_packed_command())?;
                    asked = true;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }

    /// Takes `[message, channel, bytes]`; other answers are those to our own questions.
    fn take(&mut self, answer: &Value) {
        let Value::Array(parts) = answer else { return };
        let [Value::BulkString(kind), _, Value::BulkString(bytes)] = &parts[..] else { return };
        if kind != b"message" {
            return;
        }
        let Some(came) = self.producers.read(bytes) else {
            self.malformed("a message that no node wrote");
            return;
        };
        if came.missed {
            let offset = self.at.offset.saturating_add(1);
            self.begin(Position { offset, ..self.at }, Some(Missed { count: None }));
        }
        let mut arrived = Vec::new();
        for bytes in came.events {
            self.at.offset = self.at.offset.saturating_add(1);
            let limits = &self.settings.limits;
            match entry::decode(bytes, limits) {
                Ok(event) => arrived.push(Arrived { offset: self.at.offset, event }),
                Err(reason) => self.malformed(&reason),
            }
        }
        if !arrived.is_empty() {
            self.shared.received.fetch_add(arrived.len() as u64, Relaxed);
            self.sink.deliver(arrived);
        }
    }

    fn begin(&mut self, position: Position, missed: Option<Missed>) {
        if missed.is_some() {
            self.shared.gaps.fetch_add(1, Relaxed);
        }
        self.at = position;
        self.sink.begin(position, missed);
    }

    fn malformed(&self, reason: &str) {
        self.shared.malformed.fetch_add(1, Relaxed);
        self.shared.complain(format_args!("an event is left out: {reason}"));
    }
}
