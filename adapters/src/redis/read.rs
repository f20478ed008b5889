//! The reading thread of a stream: from this node's own position to its sink, every hole told.
//!
//! Within an epoch events are numbered 1, 2, 3 …, and an entry has the number of its last one, so a hole is seen at the
//! entry after it. Whether the history is still the one that was read is looked at whenever the connection was made
//! anew: the last entry that was read must be what it was. Between connections the writer looks (`write.rs`); an epoch
//! that begins is an entry like others.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use coulis::event::Event;
use redis::{Value, cmd};

use super::{
    config::Settings,
    entry::{self, Content, Entry, of_stream},
    link::{Link, Trouble},
    script::{Scripts, Standing},
    shared::{Shared, Side},
};
use crate::{
    feed::{Arrived, Missed, Position, Sink},
    retry::Backoff,
};

/// Entries that are moved out of the inlet at once; they do not come here.
const MOVED_MAX: usize = 64;
/// How long an inlet that cannot be emptied is left alone.
const INLET_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Reader {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    producer: String,
    sink: Box<dyn Sink>,
    at: Option<Position>,
    /// What the entry at the position looks like, if it was read.
    print: Option<u64>,
    /// Whether an entry was met that begins before the position: another history has taken the place of the one read.
    replaced: bool,
    /// Where the history ended when this node came, until it has read so far.
    end: Option<Position>,
    /// When the inlet is looked at again.
    inlet_after: Option<Instant>,
}

impl Reader {
    pub(super) fn new(
        settings: Arc<Settings>,
        shared: Arc<Shared>,
        producer: String,
        sink: Box<dyn Sink>,
    ) -> Self {
        let (at, print, end, inlet_after) = (None, None, None, None);
        Self { settings, shared, producer, sink, at, print, replaced: false, end, inlet_after }
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

    /// One connection's time; returns at the end of the bus.
    fn session(&mut self, backoff: &mut Backoff) -> Result<(), Trouble> {
        let config = &self.settings.config;
        let keep = |closer| self.shared.connecting(Side::Read, closer);
        let mut link = Link::open(&self.settings.address, config.answer_wait_max, keep)?;
        let scripts = Scripts::load(&mut link)?;
        self.verify(&mut link, &scripts)?;
        // What is too large for an answer is removed there, unseen: had it broken the last connection, not this one.
        self.move_inlet(&mut link, &scripts)?;
        self.shared.up(Side::Read);
        while !self.shared.is_over() {
            let answer = self.read(&mut link)?;
            *backoff = Backoff::default();
            self.take(of_stream(&answer, &self.settings.stream))?;
            if !of_stream(&answer, &self.settings.inlet).is_empty() {
                self.move_inlet(&mut link, &scripts)?;
            }
        }
        Ok(())
    }

    /// The next entries, if any come in time.
    fn read(&mut self, link: &mut Link) -> Result<Value, Trouble> {
        let Position { epoch, offset } = self.position()?;
        let block = self.settings.config.block_max;
        let mut command = cmd("XREAD");
        command
            .arg("COUNT")
            .arg(self.settings.entries_max())
            .arg("BLOCK")
            .arg(block.as_millis() as u64)
            .arg("STREAMS");
        command.arg(&self.settings.stream);
        if self.inlet_after.is_none_or(|after| after <= Instant::now()) {
            self.inlet_after = None;
            command.arg(&self.settings.inlet).arg(format!("{epoch}-{offset}")).arg("0-0");
        } else {
            command.arg(format!("{epoch}-{offset}"));
        }
        link.patience(block)?;
        let answer = link.ask(&command);
        link.patience(Duration::ZERO)?;
        answer
    }

    /// Takes entries in their order, to the sink; those before one that cannot be taken, too.
    fn take(&mut self, entries: &[Value]) -> Result<(), Trouble> {
        if entries.is_empty() {
            // The last of those that were there may have been deleted.
            self.end = self.end.and(self.at);
            self.catch_up();
        }
        let mut arrived = Vec::new();
        let taken = self.take_all(entries, &mut arrived);
        self.deliver(&mut arrived);
        taken
    }

    fn take_all(&mut self, entries: &[Value], arrived: &mut Vec<Arrived>) -> Result<(), Trouble> {
        for value in entries {
            let entry = Entry::read(value).ok_or_else(|| odd("it answers with what is no entry"))?;
            self.take_entry(&entry, arrived)?;
            self.print = Some(entry.print());
            if self.is_at_end() {
                self.deliver(arrived);
                self.catch_up();
            }
        }
        Ok(())
    }

    fn take_entry(&mut self, entry: &Entry<'_>, arrived: &mut Vec<Arrived>) -> Result<(), Trouble> {
        let (at, to) = (self.position()?, entry.position);
        if (to.epoch, to.offset) <= (at.epoch, at.offset) {
            return Err(odd("its entries go backwards"));
        }
        let content = entry.content();
        // Of what nobody can read nobody knows how much it was: it is no hole.
        let count = content.as_ref().map_or_else(|| behind(at, to), Content::count);
        let before = Position { offset: to.offset - count, ..to };
        if before.epoch > at.epoch || before.offset > at.offset {
            self.deliver(arrived);
            self.jump(at, before);
            self.catch_up();
        }
        // Only at the beginning a position lies within an entry.
        let seen = self.position()?.offset - before.offset;
        if seen > 0 && self.print.is_some() {
            self.replaced = true;
            return Err(odd("another history has taken the place of the one that was read"));
        }
        self.at = Some(to);
        let settings = Arc::clone(&self.settings);
        let limits = &settings.limits;
        let first = before.offset + seen + 1;
        match content {
            Some(Content::Events(forms)) => {
                for (offset, form) in (first..).zip(forms.into_iter().skip(seen as usize)) {
                    self.take_event(offset, entry::decode(form, limits), arrived);
                }
            }
            Some(Content::Foreign) => self.take_event(first, entry.foreign(limits), arrived),
            Some(Content::Mark) => {}
            None => self.malformed(to.offset, "its bytes are no events"),
        }
        Ok(())
    }

    /// Hands over what came whenever it is a batch: what is made of bytes takes more room than they did.
    fn take_event(&mut self, offset: u64, event: Result<Event, String>, arrived: &mut Vec<Arrived>) {
        match event {
            Ok(event) => arrived.push(Arrived { offset, event }),
            Err(reason) => self.malformed(offset, &reason),
        }
        if arrived.len() >= self.settings.config.batch_events_max {
            self.deliver(arrived);
        }
    }

    /// Whether everything was read that was there when this node came.
    fn is_at_end(&self) -> bool {
        let place = |position: Position| (position.epoch, position.offset);
        self.end.zip(self.at).is_some_and(|(end, at)| place(at) >= place(end))
    }

    fn catch_up(&mut self) {
        if self.is_at_end() {
            self.end = None;
            self.sink.caught_up();
        }
    }

    fn deliver(&mut self, arrived: &mut Vec<Arrived>) {
        if !arrived.is_empty() {
            self.shared.received.fetch_add(arrived.len() as u64, Relaxed);
            self.sink.deliver(std::mem::take(arrived));
        }
    }

    /// Goes over the hole between `at` and what comes after `before`. Who listens by now has missed nothing of one that
    /// was there when this node came.
    fn jump(&mut self, at: Position, before: Position) {
        let count = (before.epoch == at.epoch).then(|| before.offset - at.offset);
        let place = |position: Position| (position.epoch, position.offset);
        let is_live = self.end.is_none_or(|end| place(before) > place(end));
        self.begin(before, is_live.then_some(Missed { count }));
    }

    fn begin(&mut self, position: Position, missed: Option<Missed>) {
        if missed.is_some() {
            self.shared.gaps.fetch_add(1, Relaxed);
        }
        self.at = Some(position);
        (self.print, self.replaced) = (None, false);
        self.sink.begin(position, missed);
    }

    fn malformed(&self, offset: u64, reason: &str) {
        self.shared.malformed.fetch_add(1, Relaxed);
        let epoch = self.at.map_or(0, |at| at.epoch);
        self.shared.complain(format_args!("event {epoch}-{offset} is left out: {reason}"));
    }

    /// Looks whether the history is the one that was read; if not, goes to the beginning of another epoch.
    fn verify(&mut self, link: &mut Link, scripts: &Scripts) -> Result<(), Trouble> {
        let known = self.at.map_or(0, |at| at.epoch);
        let mut greet = |lost| scripts.greet(link, &self.settings, &self.producer, known, lost);
        let mut stands = greet(None)?;
        let Some(at) = self.at else { return self.start(link, stands) };
        let replaced = self.replaced && stands.epoch == at.epoch;
        if replaced || (stands.epoch, stands.offset) < (at.epoch, at.offset) {
            stands = greet(Some(stands.epoch))?;
        } else {
            match self.is_same(link, at)? {
                Some(true) => return Ok(()),
                // It was trimmed, or was not read: what follows is told by its number, unless another epoch does.
                None if stands.epoch == at.epoch => return Ok(()),
                Some(false) if stands.epoch == at.epoch => {
                    stands =
                        scripts.greet(link, &self.settings, &self.producer, known, Some(stands.epoch))?;
                }
                _ => {}
            }
        }
        let first = self.first(link, Position { epoch: stands.epoch, offset: 0 })?;
        self.begin(
            first.unwrap_or(Position { epoch: stands.epoch, offset: 0 }),
            Some(Missed { count: None }),
        );
        self.catch_up();
        Ok(())
    }

    /// Begins where the history does, or at most so many events before its end.
    fn start(&mut self, link: &mut Link, stands: Standing) -> Result<(), Trouble> {
        let Standing { epoch, offset, .. } = stands;
        let low = offset.saturating_sub(self.settings.config.history_events_max as u64);
        let from = Position { epoch, offset: if low == 0 { 0 } else { low + 1 } };
        let mut first = self.first(link, from)?.unwrap_or(Position { epoch, offset });
        if first.epoch == epoch {
            first.offset = first.offset.max(low);
        }
        self.begin(first, None);
        self.end = Some(Position { epoch, offset });
        self.catch_up();
        Ok(())
    }

    /// The position before the first entry that is at `from` or after it.
    fn first(&self, link: &mut Link, from: Position) -> Result<Option<Position>, Trouble> {
        let answer = self.range(link, from, "+")?;
        Ok(entry_of(&answer)?.map(|entry| {
            let count = entry.content().map_or(1, |content| content.count());
            Position { offset: entry.position.offset - count, ..entry.position }
        }))
    }

    /// Whether the entry at `at` is the one that was read; nothing if it was trimmed, or was not read.
    fn is_same(&self, link: &mut Link, at: Position) -> Result<Option<bool>, Trouble> {
        let Some(print) = self.print else { return Ok(None) };
        let answer = self.range(link, at, &format!("{}-{}", at.epoch, at.offset))?;
        if let Some(entry) = entry_of(&answer)? {
            return Ok(Some(entry.print() == print));
        }
        // What is trimmed is trimmed from the front: where anything is left of what came before, another history is there.
        let first = self.first(link, Position { epoch: 0, offset: 0 })?;
        let left = first.is_some_and(|first| (first.epoch, first.offset) < (at.epoch, at.offset));
        Ok(left.then_some(false))
    }

    fn range(&self, link: &mut Link, from: Position, to: &str) -> Result<Value, Trouble> {
        let mut command = cmd("XRANGE");
        command.arg(&self.settings.stream).arg(format!("{}-{}", from.epoch, from.offset)).arg(to);
        command.arg("COUNT").arg(1);
        link.ask(&command)
    }

    /// Moves some of what other producers left into the stream, from where it is read like everything else. The rest
    /// has its turn after what is read: a full inlet stops nobody.
    fn move_inlet(&mut self, link: &mut Link, scripts: &Scripts) -> Result<(), Trouble> {
        let known = self.position()?.epoch;
        let inlet = &self.settings.inlet;
        match scripts.inlet(link, &self.settings, known, MOVED_MAX) {
            Ok(0) => {}
            Ok(malformed) => {
                self.shared.malformed.fetch_add(malformed, Relaxed);
                self.shared
                    .complain(format_args!("{malformed} entries of `{inlet}` are no events: see its docs"));
            }
            Err(Trouble::Refused(reason)) => {
                self.shared.complain(format_args!("cannot empty `{inlet}`: {reason}"));
                self.inlet_after = Some(Instant::now() + INLET_PAUSE);
            }
            Err(trouble) => return Err(trouble),
        }
        Ok(())
    }

    fn position(&self) -> Result<Position, Trouble> {
        self.at.ok_or_else(|| odd("nothing was begun"))
    }
}

/// How many numbers lie between `at` and `to`, as far as one can tell.
fn behind(at: Position, to: Position) -> u64 {
    if at.epoch == to.epoch { to.offset - at.offset } else { 1 }
}

fn entry_of(answer: &Value) -> Result<Option<Entry<'_>>, Trouble> {
    match answer {
        Value::Array(entries) => match entries.first() {
            Some(entry) => {
                Entry::read(entry).map(Some).ok_or_else(|| odd("it answers with what is no entry"))
            }
            None => Ok(None),
        },
        _ => Err(odd("it answers XRANGE with what is no list")),
    }
}

fn odd(reason: &str) -> Trouble {
    Trouble::Broken(reason.into())
}
