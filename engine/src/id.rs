//! Small names for big things: integers for channels and offsets, one canonical text for users and tenants.

use std::{fmt, sync::Arc};

/// The name of the channel that matches every event.
pub const ANY: &str = "*";

/// A channel's number, given by the router when the channel's name is first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u32);

impl ChannelId {
    /// The channel `"*"`: its subscriptions match the events of every channel.
    pub const ANY: Self = Self(0);
}

/// A shard's position, `0..shards`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// Shards as a set; `Limits::shards_max` keeps them within 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardSet(pub(crate) u64);

impl ShardSet {
    /// The shards of the set other than `this`.
    pub(crate) fn others(self, this: ShardId) -> impl Iterator<Item = ShardId> {
        (0..64).filter(move |&shard| shard != this.0 && self.0 >> shard & 1 == 1).map(ShardId)
    }
}

/// An event's position in its channel's log, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Offset(pub u64);

/// A moment: milliseconds since the engine's start. Shards are told the time, they do not look at a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Millis(pub(crate) u64);

/// A user or tenant id in canonical text: the integer `7` and the text `"7"` are the same identity.
///
/// An empty text is no identity: [`Identity::new`] answers `None` for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Arc<str>);

impl Identity {
    /// The identity named `text`, or `None` if `text` is empty.
    pub fn new(text: impl AsRef<str>) -> Option<Self> {
        let text = text.as_ref();
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The canonical text, shared.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user and its tenant: a user is one within a tenant.
pub(crate) type User = (Identity, Option<Identity>);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
