//! A shard that follows a carrier of events: whose offsets it takes, and how its readers are told of what the carrier
//! lost.

use super::{Shard, Tally, receipt::Hold};
use crate::{
    cursor::{Epoch, History},
    id::Offset,
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
        // Offsets up to which readers were replayed are of what was before.
        self.ahead = Offset(0);
        self.readers.iter_mut().flatten().for_each(super::Reader::forget_replays);
        if let Some(missed) = missed {
            self.tell_missed(start, missed);
        }
        drop(hold);
    }

    /// A notice for each subscription: nobody knows on which channels the events were. It goes the way of a result, so
    /// a reader that is slow is told of it as of any other loss.
    fn tell_missed(&mut self, to: Offset, Missed { from, count }: Missed) {
        let index = std::sync::Arc::clone(self.index.load());
        let mut tally = Tally::default();
        let number = |number: Option<u64>| number.map_or("null".into(), |number| number.to_string());
        let (from, count) = (number(from.map(|from| from.0)), number(count));
        for (channel, groups) in index.channels().filter(|(_, groups)| !groups.is_empty()) {
            let cursor = self.logs.history().cursor(channel, to);
            let body = format!(
                r#"{{"data":null,"extensions":{{"coulis":{{"gap":{{"from":{from},"to":{},"count":{count},"reason":"bus"}},"cursor":"{cursor}"}}}}}}"#,
                to.0
            );
            let notice = Payload::new(channel, to, body.into_bytes());
            for group in groups.iter() {
                tally.matched += group.members.len() as u64;
                self.send_notice(&notice, group, &mut tally);
            }
        }
        self.count(&tally, None);
    }
}
