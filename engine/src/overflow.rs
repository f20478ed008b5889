//! What happens to a subscription's next frame when its reader's ring is full.

use std::{fmt, str::FromStr};

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

/// A text that names no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAPolicy(String);

/// Reads `drop_oldest`, `drop_newest`, `disconnect` or `latest_per_key(path)`.
///
/// ```
/// use coulis::overflow::Overflow;
/// assert_eq!("latest_per_key(quote.symbol)".parse(), Ok(Overflow::latest_per_key("quote.symbol")));
/// assert!("latest_per_key()".parse::<Overflow>().is_err());
/// ```
impl FromStr for Overflow {
    type Err = NotAPolicy;

    fn from_str(text: &str) -> Result<Self, NotAPolicy> {
        let path = text.strip_prefix("latest_per_key(").and_then(|rest| rest.strip_suffix(')'));
        match (text, path) {
            ("drop_oldest", _) => Ok(Self::DropOldest),
            ("drop_newest", _) => Ok(Self::DropNewest),
            ("disconnect", _) => Ok(Self::Disconnect),
            (_, Some(path)) if path.split('.').all(|key| !key.is_empty()) => Ok(Self::latest_per_key(path)),
            _ => Err(NotAPolicy(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for NotAPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no overflow policy: choose drop_oldest, drop_newest, disconnect or latest_per_key(path)",
            self.0
        )
    }
}

impl std::error::Error for NotAPolicy {}

/// As it is read.
impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DropOldest => f.write_str("drop_oldest"),
            Self::DropNewest => f.write_str("drop_newest"),
            Self::Disconnect => f.write_str("disconnect"),
            Self::LatestPerKey(path) => write!(f, "latest_per_key({})", path.join(".")),
        }
    }
}
