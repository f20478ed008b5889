//! What happens to a subscription's next frame when its reader's ring is full.

/// The policy of one subscription. Whatever is lost is told to the reader in-band, before what comes after it.
///
/// The ring belongs to the reader, so its bounds (`ring_frames_max`, `ring_bytes_max`) are shared by all its
/// subscriptions, and the policy is that of the frame that finds no room: under `DropOldest` it may be another
/// subscription's frame that is the oldest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The oldest frames make room.
    #[default]
    DropOldest,
    /// The new frame is lost.
    DropNewest,
    /// Of the frames that found no room only the newest of each key is kept, in order, until there is room; those
    /// that it replaces are counted as coalesced. The key is what the event's document holds at this path, such as
    /// `["quote", "symbol"]`; events without it share a key.
    LatestPerKey(Box<[Box<str>]>),
    /// The subscription ends with the first loss; a connection is closed.
    Disconnect,
}

impl Overflow {
    /// [`Overflow::LatestPerKey`] with a dotted path.
    pub fn latest_per_key(path: &str) -> Self {
        Self::LatestPerKey(path.split('.').map(Box::from).collect())
    }
}
