//! Resuming a subscription: everything after its cursor, then what is live, nothing twice and nothing between.
//!
//! The subscription is registered first, marked as resumed: no live frame reaches it yet. Then the channel's home
//! shard, which alone appends to the log, cuts the log at one offset and sends what is after the cursor up to there
//! down the same ordered way that its events go. The reader's shard replays that and marks the subscription live from
//! the next offset on. Whatever was dispatched before the cut has an offset that was replayed, whatever comes after
//! has one that was not; a comparison of offsets decides.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::{group::Group, log::Reload};
use crate::{
    cursor::Cursor,
    event::Stamped,
    id::{ChannelId, Offset, ShardId},
};

/// What became of a wish to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// `Ok`: everything after the given cursor follows. Else nothing of it does, and why.
    pub result: Result<(), Reload>,
    /// Where the reader is now, before what follows; `None` for a subscription to several channels.
    pub cursor: Option<Cursor>,
}

/// Written once by the shard, before the first frame; read by the reader.
pub(crate) type Outcome = Arc<OnceLock<Resumed>>;

/// The wish, on its way to the channel's home.
#[derive(Debug)]
pub(crate) struct Resume {
    pub(crate) channel: ChannelId,
    pub(crate) after: Result<Cursor, Reload>,
    /// How far the carrier had come; 0 without one.
    pub(crate) reached: Offset,
    /// The number of the subscription's group on that channel.
    pub(crate) number: u32,
    /// That group with this one member.
    pub(crate) to: Arc<Group>,
    /// The reader's shard.
    pub(crate) shard: ShardId,
    pub(crate) outcome: Outcome,
}

/// The answer, on its way to the reader's shard.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(super) resume: Resume,
    pub(super) events: Result<Vec<Arc<Stamped>>, Reload>,
    /// Where the log was cut.
    pub(super) cut: Cursor,
}

impl Resume {
    pub(super) fn with(self, events: Result<Vec<Arc<Stamped>>, Reload>, cut: Cursor) -> Replay {
        Replay { resume: self, events, cut }
    }
}

impl Replay {
    /// Tells the reader what it will get.
    pub(super) fn settle(&self, result: Result<(), Reload>) {
        let start = self.resume.after.ok().filter(|_| result.is_ok()).unwrap_or(self.cut);
        // Set once, by the only shard that has this replay.
        _ = self.resume.outcome.set(Resumed { result, cursor: Some(start) });
    }

    /// The last offset that is not live: where the log was cut, or the cursor of a subscription that is `resumed` and
    /// has seen more than this node.
    pub(super) fn last(&self, resumed: bool) -> Offset {
        let seen = self.resume.after.ok().filter(|_| resumed);
        seen.map_or(self.cut.offset, |seen| seen.offset.max(self.cut.offset))
    }
}

impl Reload {
    /// A stable word for clients.
    pub fn code(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Cursor => "cursor",
            Self::Epoch => "epoch",
            Self::Trimmed => "trimmed",
            Self::Future => "future",
        }
    }
}

/// The word, and why an event that was asked for is not there.
impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self {
            Self::New => "no position was given",
            Self::Cursor => "its cursor is of another channel",
            Self::Epoch => "its cursor is of a log that is gone",
            Self::Trimmed => "it is not kept any more, or is of another channel",
            Self::Future => "nothing was published there as late as that",
        };
        write!(f, "{}: {why}", self.code())
    }
}

impl Resumed {
    /// The execution result that tells of it: no data, and `extensions.coulis.resumed`.
    pub fn body(&self) -> String {
        let reason = match self.result {
            Ok(()) => String::new(),
            Err(reload) => format!(r#","reason":"{}""#, reload.code()),
        };
        let cursor = self.cursor.map_or(String::new(), |cursor| format!(r#","cursor":"{cursor}""#));
        let resumed = self.result.is_ok();
        format!(r#"{{"data":null,"extensions":{{"coulis":{{"resumed":{resumed}{reason}{cursor}}}}}}}"#)
    }
}
