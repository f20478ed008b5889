//! The logs of the channels whose home this shard is: the single writer that gives offsets, and what can be replayed.
//!
//! A log is bounded by events, bytes and age, and all logs of a shard by bytes: the oldest events go first. Offsets
//! go on whatever is trimmed, so a position that is not covered any more is known to be.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    cursor::{Cursor, Epoch},
    event::{Event, Stamped},
    id::{ChannelId, Millis, Offset},
    limits::Limits,
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
    /// The cursor is ahead of the log.
    Future,
}

#[derive(Debug, Default)]
struct Log {
    /// The last offset given.
    last: Offset,
    events: VecDeque<(Millis, Arc<Stamped>)>,
    bytes: usize,
    /// Entries of `Logs::order` for events that have gone already.
    stale: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Logs {
    epoch: Epoch,
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
    pub(super) fn new(epoch: Epoch, limits: &Limits) -> Self {
        Self {
            epoch,
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

    /// Stamps an event with the next offset of its channel, from 1, without holes, and keeps it.
    pub(super) fn append(&mut self, channel: ChannelId, event: Event, now: Millis) -> Arc<Stamped> {
        let log = self.logs.entry(channel).or_default();
        log.last.0 += 1;
        let event = Arc::new(Stamped { event, channel, offset: log.last });
        if self.events_max > 0 {
            let bytes = size(&event);
            log.events.push_back((now, Arc::clone(&event)));
            log.bytes += bytes;
            self.events += 1;
            self.bytes += bytes;
            self.order.push_back(channel);
            self.trim(channel, now);
        }
        event
    }

    /// The events after `cursor`: all of them, or the reason why not.
    pub(super) fn after(
        &mut self,
        cursor: Cursor,
        events_max: usize,
        now: Millis,
    ) -> Result<Vec<Arc<Stamped>>, Reload> {
        if cursor.epoch != self.epoch {
            return Err(Reload::Epoch);
        }
        self.trim(cursor.channel, now);
        let last = self.last(cursor.channel);
        let missed = last.0.checked_sub(cursor.offset.0).ok_or(Reload::Future)?;
        let kept = self.logs.get(&cursor.channel).map_or(0, |log| log.events.len());
        match usize::try_from(missed) {
            Ok(missed) if missed <= kept.min(events_max) => {
                let log = self.logs.get(&cursor.channel).into_iter();
                let events = log.flat_map(|log| log.events.iter().skip(kept - missed));
                Ok(events.map(|(_, event)| Arc::clone(event)).collect())
            }
            _ => Err(Reload::Trimmed),
        }
    }

    /// The last offset given on `channel`; 0 before the first.
    pub(super) fn last(&self, channel: ChannelId) -> Offset {
        self.logs.get(&channel).map_or(Offset(0), |log| log.last)
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
    /// Lets the oldest event go; answers its bytes.
    fn pop(&mut self) -> Option<usize> {
        let (_, event) = self.events.pop_front()?;
        let bytes = size(&event);
        self.bytes -= bytes;
        Some(bytes)
    }

    fn is_older(&self, now: Millis, age_max: u64) -> bool {
        self.events.front().is_none_or(|(then, _)| now.0.saturating_sub(then.0) > age_max)
    }
}

fn size(event: &Stamped) -> usize {
    EVENT_BYTES + event.event.document().size()
}

#[cfg(all(test, not(coulis_loom)))]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const EPOCH: Epoch = Epoch(7);

    fn event() -> Event {
        Event::new("e", "c", b"1".to_vec(), &Limits::default()).expect("an event")
    }

    fn cursor(channel: u32, offset: u64) -> Cursor {
        Cursor { epoch: EPOCH, channel: ChannelId(channel), offset: Offset(offset) }
    }

    fn offsets(logs: &mut Logs, channel: u32, offset: u64, now: u64) -> Result<Vec<u64>, Reload> {
        let events = logs.after(cursor(channel, offset), 100, Millis(now));
        events.map(|events| events.iter().map(|event| event.offset.0).collect())
    }

    #[test]
    fn a_replay_is_complete_or_refused() {
        let limits = Limits { log_events_max: 3, log_age_max: Duration::from_secs(1), ..Limits::default() };
        let mut logs = Logs::new(EPOCH, &limits);
        assert_eq!(offsets(&mut logs, 1, 0, 0), Ok(vec![]));
        (0..5).for_each(|_| _ = logs.append(ChannelId(1), event(), Millis(0)));
        assert_eq!(offsets(&mut logs, 1, 2, 0), Ok(vec![3, 4, 5]));
        assert_eq!(offsets(&mut logs, 1, 5, 0), Ok(vec![]));
        assert_eq!(offsets(&mut logs, 1, 1, 0), Err(Reload::Trimmed));
        assert_eq!(offsets(&mut logs, 1, 6, 0), Err(Reload::Future));
        assert_eq!(logs.after(cursor(1, 2), 2, Millis(0)).unwrap_err(), Reload::Trimmed);
        assert_eq!(
            logs.after(Cursor { epoch: Epoch(8), ..cursor(1, 5) }, 9, Millis(0)).unwrap_err(),
            Reload::Epoch
        );
        assert_eq!(offsets(&mut logs, 1, 4, 1_000), Ok(vec![5]));
        assert_eq!(offsets(&mut logs, 1, 4, 1_001), Err(Reload::Trimmed), "too old");
        assert_eq!(offsets(&mut logs, 1, 5, 1_001), Ok(vec![]), "nothing was missed");
    }

    proptest! {
        /// Against a list of all events and the plain words of the bounds.
        #[test]
        fn logs_keep_what_their_bounds_say(
            ops in prop::collection::vec((1..4u32, 0..300u64), 1..400),
            events_max in 1..20usize,
            all in 3..30usize,
        ) {
            let bytes = size(&Stamped { event: event(), channel: ChannelId(1), offset: Offset(1) });
            let limits = Limits {
                log_events_max: events_max,
                logs_bytes_max: all * bytes,
                log_age_max: Duration::from_secs(1),
                ..Limits::default()
            };
            let (mut logs, mut model, mut now) = (Logs::new(EPOCH, &limits), Vec::<(u32, u64, u64)>::new(), 0);
            let mut last = [0; 4];
            for (channel, later) in ops {
                now += later;
                last[channel as usize] += 1;
                logs.append(ChannelId(channel), event(), Millis(now));
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
