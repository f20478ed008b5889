//! Channel names to numbers and home shards: one look-up in a lock-free map.

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use crate::{
    error::LimitExceeded,
    id::{ANY, ChannelId, ShardId, ShardSet},
    sync::{AtomicU64, Ordering},
};

/// A channel's number, home and readers.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    /// The shard that stamps this channel's offsets.
    pub(crate) home: ShardId,
    /// The shards that have subscriptions here, a bit each.
    readers: AtomicU64,
}

impl Channel {
    pub(crate) fn readers(&self) -> ShardSet {
        ShardSet(self.readers.load(Ordering::Acquire))
    }

    /// Notes whether `shard` has subscriptions here; called under that shard's directory lock.
    pub(crate) fn set_reader(&self, shard: ShardId, reads: bool) {
        let bit = 1 << shard.0;
        if reads {
            self.readers.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.readers.fetch_and(!bit, Ordering::AcqRel);
        }
    }
}

/// All channels by name. Channels stay: their offsets go on.
#[derive(Debug)]
pub(crate) struct Router {
    channels: papaya::HashMap<Box<str>, Arc<Channel>>,
    any: Arc<Channel>,
    next: AtomicU64,
    shards: u16,
    channels_max: usize,
}

impl Router {
    pub(crate) fn new(shards: u16, channels_max: usize) -> Self {
        let any = Arc::new(Channel { id: ChannelId::ANY, home: ShardId(0), readers: AtomicU64::new(0) });
        let channels = papaya::HashMap::new();
        channels.pin().insert(ANY.into(), Arc::clone(&any));
        Self { channels, any, next: AtomicU64::new(1), shards, channels_max }
    }

    /// The channel called `name`, made at its first mention.
    ///
    /// # Errors
    /// `channels_max`.
    pub(crate) fn channel(&self, name: &str) -> Result<Arc<Channel>, LimitExceeded> {
        let channels = self.channels.pin();
        if let Some(channel) = channels.get(name) {
            return Ok(Arc::clone(channel));
        }
        LimitExceeded::check("channels_max", channels.len(), self.channels_max)?;
        // Two threads may come here with one name: one number is then never used.
        let id = ChannelId(self.next.fetch_add(1, Ordering::Relaxed) as u32);
        // Without a random key: a channel has the same home in every run, so that a run can be repeated.
        let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(name);
        let home = ShardId((hash % u64::from(self.shards)) as u16);
        let channel = Arc::new(Channel { id, home, readers: AtomicU64::new(0) });
        Ok(Arc::clone(channels.get_or_insert(name.into(), channel)))
    }

    /// The channel called `name`, if it was mentioned before.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Channel>> {
        self.channels.pin().get(name).cloned()
    }

    /// The channel `"*"`.
    pub(crate) fn any(&self) -> &Arc<Channel> {
        &self.any
    }
}
