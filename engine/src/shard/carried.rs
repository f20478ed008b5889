//! A shard that follows a carrier of events: whose offsets it takes, and how its readers are told of what the carrier
//! lost.

use std::{collections::HashSet, sync::Arc};

use super::{Reader, Shard, Tally, group::Group, receipt::Hold};
use crate::{
    cursor::{Cursor, Epoch, History},
    id::{ChannelId, Offset},
    payload::Payload,
};

/// Events that no node will get any more, or that this one has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The first offset that may be missing, unless it is of a history that is lost.
    pub from: Option<Offset>,
    /// How many there were on all channels together, where that is known.
    pub count: Option<u64>,
}

/// What comes next from the carrier comes after `start` of `epoch`.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) epoch: Epoch,
    pub(crate) start: Offset,
    pub(crate) missed: Option<Missed>,
    /// Dropped when the shard has done so.
    pub(crate) hold: Hold,
}

impl Shard {
    /// Begins another history, or goes on after a hole. No event of the carrier is on its way meanwhile.
    pub(super) fn follow(&mut self, Follow { epoch, start, missed, hold }: Follow) {
        let history = History { epoch, carried: true };
        self.logs.restart(history, start);
        if let Some(missed) = missed {
            self.tell_missed(start, missed);
        }
        // Offsets up to which readers were replayed are of what was before.
        self.ahead = Offset(0);
        self.readers.iter_mut().flatten().for_each(Reader::forget_replays);
        drop(hold);
    }

    /// One notice for each subscription that could have got an event: nobody knows on which channels they were. It goes
    /// the way of a result, so a reader that is slow is told of it as of any other loss.
    fn tell_missed(&mut self, to: Offset, missed: Missed) {
        let index = Arc::clone(self.index.load());
        let (mut tally, mut told) = (Tally::default(), HashSet::new());
        // Who was replayed up to here has missed nothing; the offsets of another history say nothing.
        let at = if missed.from.is_some() { to } else { Offset(u64::MAX) };
        for (channel, groups) in index.channels().filter(|(_, groups)| !groups.is_empty()) {
            let cursor = self.logs.history().cursor(channel, to);
            let [notice, early] = [Some(cursor), None].map(|cursor| notice(channel, to, missed, cursor));
            for group in groups.iter().filter(|group| !group.predicate.admits_nothing()) {
                // Results of earlier events are still to come: who resumed after this one would never get them.
                let is_early = self.asked.contains_key(&group.render.serial);
                self.tell_group(if is_early { &early } else { &notice }, group, at, &mut told, &mut tally);
            }
        }
        self.count(&tally, None);
    }

    /// Tells the members that were not `told` before, on another channel.
    fn tell_group(
        &mut self,
        notice: &Payload,
        group: &Group,
        at: Offset,
        told: &mut HashSet<(u64, u32)>,
        tally: &mut Tally,
    ) {
        for member in group.members.chunks().flatten() {
            if !told.insert((member.reader, member.subscription)) {
                continue;
            }
            (tally.matched, tally.pushed) = (tally.matched + 1, tally.pushed + 1);
            let Some(reader) = Reader::of(&mut self.readers, member) else {
                tally.discarded += 1;
                continue;
            };
            let pushed = reader.push_notice(member, notice.clone(), at, &group.overflow);
            if pushed.gone {
                tally.discarded += 1;
                continue;
            }
            tally.add(&pushed);
            reader.touch(member.slot, &mut self.touched);
        }
    }
}

/// A result without data that tells of a loss up to `to`, and that its reader is at `cursor`.
fn notice(channel: ChannelId, to: Offset, Missed { from, count }: Missed, cursor: Option<Cursor>) -> Payload {
    let number = |number: Option<u64>| number.map_or("null".into(), |number| number.to_string());
    let (from, to_number, count) = (number(from.map(|from| from.0)), to.0, number(count));
    let cursor = cursor.map_or(String::new(), |cursor| format!(r#","cursor":"{cursor}""#));
    let body = format!(
        r#"{{"data":null,"extensions":{{"coulis":{{"gap":{{"from":{from},"to":{to_number},"count":{count},"reason":"bus"}}{cursor}}}}}}}"#,
    );
    Payload::new(channel, to, body.into_bytes())
}
