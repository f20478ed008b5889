//! The writing thread: batches from the queue to the server, a few under way at a time, each event once.
//!
//! Events are numbered as they are taken from the queue. With a history the server keeps the last number that it took,
//! and takes only what follows, so a batch whose answer was lost is sent again until it is answered, even if the old
//! connection's bytes are executed late. A batch names the number that it follows; if that one is missing, because the
//! batch before was refused or because the server lost its tail, nothing of it is taken: it answers with a gap.

use std::{
    collections::VecDeque,
    iter,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use coulis::{
    bus::{Accepted, BusError},
    cursor::Epoch,
    id::Offset,
};

use super::{
    config::{Mode, Settings},
    link::{Link, Trouble},
    pubsub,
    queue::{Item, Queue, Taken},
    script::{Scripts, Standing, Verdict, offsets, verdict},
    shared::{Shared, Side},
};
use crate::retry::Backoff;
/// Batches that are sent before the first of them is answered. Without a history it is one, since nothing keeps a batch
/// from being taken that follows a refused one: readers would be told that they missed what its publisher was told of.
const fn under_way_max(mode: Mode) -> usize {
    match mode {
        Mode::Streams => 4,
        Mode::PubSub => 1,
    }
}

/// Errors after which the same connection will not do better.
const STALE: [&str; 4] = ["READONLY", "NOAUTH", "LOADING", "MASTERDOWN"];

#[derive(Debug)]
pub(super) struct Writer {
    settings: Arc<Settings>,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    producer: String,
    /// Taken from the queue and not answered, in order.
    batches: VecDeque<Batch>,
    /// How many of them were sent on this connection.
    sent: usize,
    /// The number of the event that was taken from the queue last.
    last: u64,
    /// Where things stood at the last answer.
    known: Standing,
}

#[derive(Debug)]
struct Batch {
    /// The number of the first event.
    first: u64,
    items: Vec<Item>,
    /// Sent on an earlier connection, too, whose bytes may still be executed.
    again: bool,
}

impl Batch {
    fn last(&self) -> u64 {
        self.first + self.items.len() as u64 - 1
    }
}

/// A connection with what the mode needs.
struct Session {
    link: Link,
    /// None without a history.
    scripts: Option<Scripts>,
}

impl Writer {
    pub(super) fn new(
        settings: Arc<Settings>,
        queue: Arc<Queue>,
        shared: Arc<Shared>,
        producer: String,
    ) -> Self {
        let (batches, known) = (VecDeque::new(), Standing::default());
        Self { settings, queue, shared, producer, batches, sent: 0, last: 0, known }
    }

    /// Works until the end of the bus.
    pub(super) fn run(mut self) {
        let mut backoff = Backoff::default();
        while !self.shared.is_over() {
            let Err(trouble) = self.session(&mut backoff) else { break };
            self.shared.down(Side::Write, trouble);
            for batch in self.batches.iter_mut().take(std::mem::take(&mut self.sent)) {
                batch.again = true;
            }
            self.shared.wait(backoff.wait());
        }
        let unsent = self.queue.drain();
        for batch in std::mem::take(&mut self.batches) {
            self.answer(batch.items, &self.shared.unanswered(true));
        }
        let unanswered = self.shared.unanswered(false);
        for item in unsent {
            self.respond(item, Err(unanswered.clone()));
        }
    }

    /// One connection's time; returns at the end of the bus.
    fn session(&mut self, backoff: &mut Backoff) -> Result<(), Trouble> {
        let config = &self.settings.config;
        let keep = |closer| self.shared.connecting(Side::Write, closer);
        let mut link = Link::open(&self.settings.address, config.answer_wait_max, keep)?;
        let scripts = match config.mode {
            Mode::Streams => Some(Scripts::load(&mut link)?),
            Mode::PubSub => None,
        };
        let mut session = Session { link, scripts };
        self.greet(&mut session)?;
        self.shared.up(Side::Write);
        *backoff = Backoff::default();
        loop {
            if !self.fill(&mut session)? {
                return Ok(());
            }
            if self.batches.is_empty() {
                // Nobody published for a while: does the server still answer, and is all as it was?
                self.greet(&mut session)?;
            } else {
                self.settle(&mut session)?;
            }
        }
    }

    /// Learns where things stand, and begins a new epoch where the history is not the one that was acknowledged.
    fn greet(&mut self, session: &mut Session) -> Result<(), Trouble> {
        let Session { link, scripts } = session;
        let Some(scripts) = scripts else { return pubsub::ping(link) };
        let known = self.known;
        let mut greet = |lost| scripts.greet(link, &self.settings, &self.producer, known.epoch, lost);
        let mut stands = greet(None)?;
        if was_lost(known, stands) {
            stands = greet(Some(stands.epoch))?;
        }
        self.known = stands;
        Ok(())
    }

    /// Sends what there is, as far as more may be under way; waits for events if nothing is. False at the end.
    fn fill(&mut self, session: &mut Session) -> Result<bool, Trouble> {
        while self.sent < under_way_max(self.settings.config.mode) {
            if self.sent == self.batches.len() {
                let wait = if self.sent == 0 { self.settings.config.block_max } else { Duration::ZERO };
                let config = &self.settings.config;
                match self.queue.take(config.batch_events_max, config.batch_bytes_max, wait) {
                    Taken::Items(items) => self.number(items),
                    Taken::Idle => break,
                    Taken::Ended => return Ok(false),
                }
            }
            let command = self.command(session.scripts.as_ref(), self.sent);
            // Counted first: what fails half-way may have arrived.
            self.sent += 1;
            session.link.send(&command)?;
        }
        Ok(true)
    }

    fn number(&mut self, items: Vec<Item>) {
        let first = self.last + 1;
        self.last += items.len() as u64;
        self.batches.push_back(Batch { first, items, again: false });
    }

    fn command(&self, scripts: Option<&Scripts>, at: usize) -> Vec<u8> {
        let batch = &self.batches[at];
        let base = match at.checked_sub(1) {
            Some(before) => self.batches[before].last(),
            None => self.known.taken.unwrap_or(0).min(batch.first - 1),
        };
        let (producer, numbers) = (&self.producer, (base, batch.first));
        match scripts {
            Some(scripts) => {
                let known = self.known.epoch;
                scripts.publish(&self.settings, producer, known, numbers, &batch.items).get_packed_command()
            }
            None => pubsub::publish(&self.settings, producer, numbers, &batch.items),
        }
    }

    /// Takes the answer to the oldest batch that is under way.
    fn settle(&mut self, session: &mut Session) -> Result<(), Trouble> {
        let link = &mut session.link;
        let verdict = match &session.scripts {
            Some(_) => verdict(&link.receive()?)?,
            None => pubsub::verdict(link, self.batches.front().map_or(0, Batch::last))?,
        };
        match verdict {
            Verdict::Taken(stands, marks) => {
                let batch = self.pop();
                let offsets = offsets(&batch.items, stands.offset, &marks);
                self.known = stands;
                self.accept(batch.items, offsets);
            }
            Verdict::Refused(stands, reason) => {
                let mut batch = self.pop();
                let next = stands.taken.unwrap_or(0).saturating_add(1);
                let taken = next.saturating_sub(batch.first) as usize;
                let rest = batch.items.split_off(taken.min(batch.items.len()));
                self.known = stands;
                self.accept(batch.items, Vec::new());
                self.refuse(rest, &reason, batch.again)?;
            }
            Verdict::Failed(reason) => {
                let batch = self.pop();
                self.refuse(batch.items, &reason, batch.again)?;
            }
            Verdict::Gap => self.resume(session)?,
            Verdict::Lost(reason) => return Err(Trouble::Broken(reason)),
        }
        Ok(())
    }

    fn pop(&mut self) -> Batch {
        self.sent -= 1;
        self.batches.pop_front().unwrap_or(Batch { first: 1, items: Vec::new(), again: false })
    }

    /// Sends everything that is under way again, after what the server has.
    fn resume(&mut self, session: &mut Session) -> Result<(), Trouble> {
        // What follows a gap was not taken either.
        for _ in 1..std::mem::take(&mut self.sent) {
            session.link.receive()?;
        }
        self.greet(session)
    }

    /// Tells the publishers of `items` that the server did not take them.
    fn refuse(&self, items: Vec<Item>, reason: &str, unknown: bool) -> Result<(), Trouble> {
        let count = items.len();
        self.shared.complain(format_args!("{count} events refused: {reason}"));
        let error = BusError { reason: reason.into(), transient: is_transient(reason), unknown };
        self.answer(items, &error);
        if STALE.iter().any(|code| reason.starts_with(code)) {
            return Err(Trouble::Broken(reason.into()));
        }
        Ok(())
    }

    /// Tells the publishers of `items` that the server has taken them, and where they stand as far as that is known.
    fn accept(&self, items: Vec<Item>, offsets: Vec<Option<Offset>>) {
        let count = items.len();
        self.shared.accepted.fetch_add(count as u64, Relaxed);
        let epoch = Some(Epoch(self.known.epoch));
        let offsets = offsets.into_iter().chain(iter::repeat(None));
        for (item, offset) in items.into_iter().zip(offsets) {
            self.respond(item, Ok(Accepted { offset, epoch: offset.and(epoch) }));
        }
        self.queue.settled(count);
    }

    /// Answers with an error for events that were under way.
    fn answer(&self, items: Vec<Item>, error: &BusError) {
        let count = items.len();
        for item in items {
            self.respond(item, Err(error.clone()));
        }
        self.queue.settled(count);
    }

    /// Tells who waits for an event what became of it; of one that nobody waits for a loss is counted.
    fn respond(&self, item: Item, result: Result<Accepted, BusError>) {
        match item.waiting {
            // Who does not wait any more is not told.
            Some(waiting) => _ = waiting.answers.try_send((waiting.index, result)),
            None if result.is_err() => _ = self.shared.refused.fetch_add(1, Relaxed),
            None => {}
        }
    }
}

/// Whether `stands` cannot have come from `known` by adding to it.
fn was_lost(known: Standing, stands: Standing) -> bool {
    let went_back =
        |then: Option<u64>, now: Option<u64>| matches!((then, now), (Some(then), Some(now)) if now < then);
    stands.epoch < known.epoch
        || (stands.epoch == known.epoch
            && (stands.offset < known.offset || went_back(known.taken, stands.taken)))
}

/// Whether a refusal may be over by itself or by an operator's hand: full, read-only, busy, starting.
fn is_transient(reason: &str) -> bool {
    let code = reason.split(' ').next().unwrap_or_default();
    ["OOM", "MISCONF", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS"].contains(&code)
        || STALE.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_have_grown_was_lost() {
        let at = |epoch, offset, taken| Standing { epoch, offset, taken };
        let known = at(7, 40, Some(9));
        for fine in [known, at(7, 41, Some(9)), at(7, 41, Some(10)), at(8, 0, None), at(7, 40, None)] {
            assert!(!was_lost(known, fine), "{fine:?}");
        }
        for lost in [at(6, 90, Some(9)), at(7, 39, Some(9)), at(7, 50, Some(8))] {
            assert!(was_lost(known, lost), "{lost:?}");
        }
        assert!(!was_lost(Standing::default(), known));
    }

    #[test]
    fn refusals_that_pass_are_told_from_those_that_stay() {
        assert!(is_transient("OOM command not allowed when used memory > 'maxmemory'."));
        assert!(is_transient("READONLY You can't write against a read only replica."));
        assert!(!is_transient("NOPERM this user has no permissions"));
        assert!(!is_transient("WRONGTYPE Operation against a key"));
    }
}
