//! The logs of the channels whose home this shard is: the single writer that gives offsets, and what can be replayed.
//!
//! A log is bounded by events, bytes and age, and all logs of a shard by bytes: the oldest events go first. Offsets
//! go on whatever is trimmed, so a position that is not covered any more is known to be.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    cursor::{At, Cursor, History},
    event::{Event, Stamped},
    id::{ChannelId, Millis, Offset},
    limits::Limits,
    value::Document,
};

/// What an event in a log costs beside its document, roughly.
const EVENT_BYTES: usize = 256;

/// Why a subscription cannot be resumed: its reader has to load the present state anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It did not say where it was.
    New,
    /// The text is no cursor, or one of another channel; subscriptions to several channels have none.
    Cursor,
    /// The log that the cursor is of is gone: the engine was started anew.
    Epoch,
    /// Events after the cursor are not kept any more, or there are more of them than a replay may have.
    Trimmed,
    /// The cursor is ahead of the log, or of what has come from the carrier.
    Future,
}

#[derive(Debug, Default)]
struct Log {
    /// The last offset given.
    last: Offset,
    /// The last offset that is not kept any more.
    gone: Offset,
    events: VecDeque<(Millis, Arc<Stamped>)>,
    bytes: usize,
    /// Entries of `Logs::order` for events that have gone already.
    stale: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Logs {
    history: History,
    /// Where the history begins here: nothing up to it was ever kept.
    start: Offset,
    logs: HashMap<ChannelId, Log>,
    /// The channel of each event kept, oldest event first; entries of events that went earlier are skipped.
    order: VecDeque<ChannelId>,
    events: usize,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    all_bytes_max: usize,
    age_max: u64,
}

impl Logs {
    pub(super) fn new(history: History, limits: &Limits) -> Self {
        Self {
            history,
            start: Offset(0),
            logs: HashMap::new(),
            order: VecDeque::new(),
            events: 0,
            bytes: 0,
            events_max: limits.log_events_max,
            bytes_max: limits.log_bytes_max,
            all_bytes_max: limits.logs_bytes_max,
            age_max: u64::try_from(limits.log_age_max.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Stamps an event and keeps it: with the offset that its carrier gave it, or the next one of its channel, from 1,
    /// without holes. `None` if a carrier brings it again.
    pub(super) fn append(
        &mut self,
        channel: ChannelId,
        event: Event,
        carried: Option<Offset>,
        now: Millis,
    ) -> Option<Arc<Stamped>> {
        let start = self.start;
        let log = self.logs.entry(channel).or_insert_with(|| Log::starting(start));
        let offset = carried.unwrap_or(Offset(log.last.0 + 1));
        if offset <= log.last {
            return None;
        }
        log.last = offset;
        let event = Arc::new(Stamped { event, channel, offset, history: self.history });
        if self.events_max == 0 {
            log.gone = offset;
        } else {
            let bytes = size(&event);
            log.events.push_back((now, Arc::clone(&event)));
            log.bytes += bytes;
            self.events += 1;
            self.bytes += bytes;
            self.order.push_back(channel);
            self.trim(channel, now);
        }
        Some(event)
    }

    /// Forgets everything: what comes next comes after `start` of `history`.
    pub(super) fn restart(&mut self, history: History, start: Offset) {
        (self.history, self.start) = (history, start);
        self.logs.clear();
        self.order.clear();
        (self.events, self.bytes) = (0, 0);
    }

    /// The events of `channel` after `cursor`: all of them, or the reason why not. `reached`: how far a carrier has
    /// come, of which `channel` may have seen nothing.
    pub(super) fn after(
        &mut self,
        channel: ChannelId,
        cursor: Cursor,
        reached: Offset,
        events_max: usize,
        now: Millis,
    ) -> Result<Vec<Arc<Stamped>>, Reload> {
        self.own(channel, cursor)?;
        self.trim(channel, now);
        if cursor.offset > self.last(channel).max(reached) {
            return Err(Reload::Future);
        }
        let Some(log) = self.logs.get(&channel) else {
            return if cursor.offset < self.start { Err(Reload::Trimmed) } else { Ok(Vec::new()) };
        };
        let seen = log.events.partition_point(|(_, event)| event.offset <= cursor.offset);
        if cursor.offset < log.gone || log.events.len() - seen > events_max {
            return Err(Reload::Trimmed);
        }
        Ok(log.events.range(seen..).map(|(_, event)| Arc::clone(event)).collect())
    }

    /// The offset of a cursor, if it is one of this log.
    fn own(&self, channel: ChannelId, cursor: Cursor) -> Result<Offset, Reload> {
        if cursor.epoch != self.history.epoch {
            return Err(Reload::Epoch);
        }
        if cursor.channel != self.history.channel(channel) {
            return Err(Reload::Cursor);
        }
        Ok(cursor.offset)
    }

    /// Whether a log that was cut there is of another history, or of what was before a hole.
    pub(super) fn left_behind(&self, cut: Cursor) -> Option<Reload> {
        let trimmed = (cut.offset < self.start).then_some(Reload::Trimmed);
        if cut.epoch == self.history.epoch { trimmed } else { Some(Reload::Epoch) }
    }

    /// The event of `channel` that is meant, or the reason why it is not here.
    pub(super) fn at(&mut self, channel: ChannelId, at: At, now: Millis) -> Result<Arc<Stamped>, Reload> {
        let offset = match at {
            At::Offset(offset) => offset,
            At::Cursor(cursor) => self.own(channel, cursor)?,
        };
        self.trim(channel, now);
        let log = self.logs.get(&channel).filter(|log| offset <= log.last).ok_or(Reload::Future)?;
        let place = log.events.binary_search_by_key(&offset, |(_, event)| event.offset);
        place.map(|place| Arc::clone(&log.events[place].1)).map_err(|_| Reload::Trimmed)
    }

    /// The last offset given on `channel`; where the history begins before the first.
    pub(super) fn last(&self, channel: ChannelId) -> Offset {
        self.logs.get(&channel).map_or(self.start, |log| log.last)
    }

    /// Whose offsets these are.
    pub(super) fn history(&self) -> History {
        self.history
    }

    /// Lets go what is above a bound: first of `channel`, then the oldest events of all.
    fn trim(&mut self, channel: ChannelId, now: Millis) {
        if let Some(log) = self.logs.get_mut(&channel) {
            while log.events.len() > self.events_max || log.bytes > self.bytes_max {
                let Some(bytes) = log.pop() else { break };
                log.stale += 1;
                self.events -= 1;
                self.bytes -= bytes;
            }
        }
        while let Some(log) = self.order.front().and_then(|channel| self.logs.get_mut(channel)) {
            if log.stale > 0 {
                log.stale -= 1;
            } else if self.bytes > self.all_bytes_max || log.is_older(now, self.age_max) {
                self.events -= 1;
                self.bytes -= log.pop().unwrap_or(0);
            } else {
                break;
            }
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.events + 1_024 {
            self.forget_stale();
        }
    }

    /// Removes the entries of events that have gone from `order`; each was paid for by an append.
    fn forget_stale(&mut self) {
        let logs = &mut self.logs;
        self.order.retain(|channel| match logs.get_mut(channel) {
            Some(log) if log.stale > 0 => {
                log.stale -= 1;
                false
            }
            _ => true,
        });
    }
}

impl Log {
    fn starting(start: Offset) -> Self {
        Self { last: start, gone: start, ..Self::default() }
    }

    /// Lets the oldest event go; answers its bytes.
    fn pop(&mut self) -> Option<usize> {
        let (_, event) = self.events.pop_front()?;
        self.gone = event.offset;
        let bytes = size(&event);
        self.bytes -= bytes;
        Some(bytes)
    }

    fn is_older(&self, now: Millis, age_max: u64) -> bool {
        self.events.front().is_none_or(|(then, _)| now.0.saturating_sub(then.0) > age_max)
    }
}

fn size(event: &Stamped) -> usize {
    let Stamped { event, .. } = event;
    EVENT_BYTES + event.document().size() + event.before().map_or(0, Document::size)
}

#[cfg(all(test, not(coulis_loom)))]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::cursor::Epoch;

    const EPOCH: Epoch = Epoch(7);
    const OWN: History = History { epoch: EPOCH, carried: false };
    const CARRIED: History = History { epoch: EPOCH, carried: true };

    fn event() -> Event {
        Event::new("e", "c", b"1".to_vec(), &Limits::default()).expect("an event")
    }

    fn cursor(channel: u32, offset: u64) -> Cursor {
        Cursor { epoch: EPOCH, channel: ChannelId(channel), offset: Offset(offset) }
    }

    fn offsets(logs: &mut Logs, channel: u32, offset: u64, now: u64) -> Result<Vec<u64>, Reload> {
        let at = logs.history().cursor(ChannelId(channel), Offset(offset));
        let events = logs.after(ChannelId(channel), at, Offset(0), 100, Millis(now));
        events.map(|events| events.iter().map(|event| event.offset.0).collect())
    }

    #[test]
    fn a_replay_is_complete_or_refused() {
        let limits = Limits { log_events_max: 3, log_age_max: Duration::from_secs(1), ..Limits::default() };
        let mut logs = Logs::new(OWN, &limits);
        assert_eq!(offsets(&mut logs, 1, 0, 0), Ok(vec![]));
        (0..5).for_each(|_| _ = logs.append(ChannelId(1), event(), None, Millis(0)));
        assert_eq!(offsets(&mut logs, 1, 2, 0), Ok(vec![3, 4, 5]));
        assert_eq!(offsets(&mut logs, 1, 5, 0), Ok(vec![]));
        assert_eq!(offsets(&mut logs, 1, 1, 0), Err(Reload::Trimmed));
        assert_eq!(offsets(&mut logs, 1, 6, 0), Err(Reload::Future));
        assert_eq!(
            logs.after(ChannelId(1), cursor(1, 2), Offset(0), 2, Millis(0)).unwrap_err(),
            Reload::Trimmed
        );
        assert_eq!(
            logs.after(ChannelId(1), Cursor { epoch: Epoch(8), ..cursor(1, 5) }, Offset(0), 9, Millis(0))
                .unwrap_err(),
            Reload::Epoch
        );
        let mut at = |at| logs.at(ChannelId(1), at, Millis(0)).map(|event| event.offset.0);
        assert_eq!(
            [2, 3, 5, 6].map(|offset| at(At::Offset(Offset(offset)))),
            [Err(Reload::Trimmed), Ok(3), Ok(5), Err(Reload::Future)]
        );
        assert_eq!(at(At::Cursor(cursor(1, 4))), Ok(4));
        assert_eq!(at(At::Cursor(cursor(2, 4))), Err(Reload::Cursor));
        assert_eq!(at(At::Cursor(Cursor { epoch: Epoch(8), ..cursor(1, 4) })), Err(Reload::Epoch));
        assert_eq!(offsets(&mut logs, 1, 4, 1_000), Ok(vec![5]));
        assert_eq!(offsets(&mut logs, 1, 4, 1_001), Err(Reload::Trimmed), "too old");
        assert_eq!(offsets(&mut logs, 1, 5, 1_001), Ok(vec![]), "nothing was missed");
    }

    #[test]
    fn offsets_of_a_carrier_have_holes_and_a_start() {
        let limits = Limits { log_events_max: 2, ..Limits::default() };
        let mut logs = Logs::new(OWN, &limits);
        logs.append(ChannelId(1), event(), None, Millis(0));
        logs.restart(CARRIED, Offset(10));
        let mut append = |channel: u32, offset| {
            logs.append(ChannelId(channel), event(), Some(Offset(offset)), Millis(0)).is_some()
        };
        assert!(append(1, 12) && append(2, 13) && append(1, 20));
        assert!(!append(1, 20) && !append(1, 12) && !append(3, 10), "brought again");
        assert_eq!(offsets(&mut logs, 1, 10, 0), Ok(vec![12, 20]));
        assert_eq!(offsets(&mut logs, 1, 15, 0), Ok(vec![20]), "a position among other channels' events");
        assert_eq!(offsets(&mut logs, 1, 9, 0), Err(Reload::Trimmed), "before the start");
        assert_eq!(offsets(&mut logs, 1, 21, 0), Err(Reload::Future));
        logs.append(ChannelId(1), event(), Some(Offset(30)), Millis(0));
        assert_eq!(offsets(&mut logs, 1, 12, 0), Ok(vec![20, 30]));
        assert_eq!(offsets(&mut logs, 1, 11, 0), Err(Reload::Trimmed), "12 has gone");
        // A channel of which nothing came: any position that the carrier has passed is one.
        let quiet = |logs: &mut Logs, offset| {
            logs.after(ChannelId(9), CARRIED.cursor(ChannelId(9), Offset(offset)), Offset(30), 9, Millis(0))
        };
        assert!(quiet(&mut logs, 30).is_ok_and(|events| events.is_empty()));
        assert_eq!(quiet(&mut logs, 31).unwrap_err(), Reload::Future);
        assert_eq!(quiet(&mut logs, 9).unwrap_err(), Reload::Trimmed);
        let own = Cursor { channel: ChannelId(9), ..CARRIED.cursor(ChannelId(9), Offset(30)) };
        assert_eq!(logs.after(ChannelId(9), own, Offset(30), 9, Millis(0)).unwrap_err(), Reload::Cursor);
    }

    #[test]
    fn what_an_event_was_before_counts_too() {
        let large = format!(r#""{}""#, "x".repeat(10_000)).into_bytes();
        let changed = || event().with_before(large.clone(), &Limits::default()).unwrap();
        let of_one = EVENT_BYTES + changed().before().unwrap().size();
        let limits = Limits { log_bytes_max: 2 * of_one, ..Limits::default() };
        let mut logs = Logs::new(OWN, &limits);
        for _ in 0..3 {
            logs.append(ChannelId(1), changed(), None, Millis(0));
        }
        assert_eq!(offsets(&mut logs, 1, 2, 0), Ok(vec![3]));
        assert_eq!(offsets(&mut logs, 1, 1, 0), Err(Reload::Trimmed));
    }

    proptest! {
        /// Against a list of all events and the plain words of the bounds.
        #[test]
        fn logs_keep_what_their_bounds_say(
            ops in prop::collection::vec((1..4u32, 0..300u64), 1..400),
            events_max in 1..20usize,
            all in 3..30usize,
        ) {
            let bytes = size(&Stamped { event: event(), channel: ChannelId(1), offset: Offset(1), history: OWN });
            let limits = Limits {
                log_events_max: events_max,
                logs_bytes_max: all * bytes,
                log_age_max: Duration::from_secs(1),
                ..Limits::default()
            };
            let (mut logs, mut model, mut now) = (Logs::new(OWN, &limits), Vec::<(u32, u64, u64)>::new(), 0);
            let mut last = [0; 4];
            for (channel, later) in ops {
                now += later;
                last[channel as usize] += 1;
                logs.append(ChannelId(channel), event(), None, Millis(now));
                model.push((channel, last[channel as usize], now));
                if model.iter().filter(|row| row.0 == channel).count() > events_max {
                    let oldest = model.iter().position(|row| row.0 == channel).unwrap();
                    model.remove(oldest);
                }
                while model.len() > all || now - model[0].2 > 1_000 {
                    model.remove(0);
                }
                for channel in 1..4 {
                    let kept: Vec<_> = model.iter().filter(|row| row.0 == channel).map(|row| row.1).collect();
                    let first = last[channel as usize] - kept.len() as u64;
                    prop_assert_eq!(offsets(&mut logs, channel, first, now), Ok(kept));
                    if first > 0 {
                        prop_assert_eq!(offsets(&mut logs, channel, first - 1, now), Err(Reload::Trimmed));
                    }
                }
                prop_assert!(logs.order.len() <= 2 * logs.events + 1_024);
            }
        }
    }
}
