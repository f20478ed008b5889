//! A position in a channel, as text that a client keeps and gives back to resume.
//!
//! A cursor is opaque to clients and carries its version: `1.<epoch>.<channel>.<offset>`, numbers in hexadecimal.
//! The epoch is a random number of the log's incarnation: without it a log that lost its events and counts anew
//! could not tell an old position from one of its own.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    str::FromStr,
};

use crate::id::{ChannelId, Offset};

/// The incarnation of an engine's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// A new one, never given before in all likelihood: 64 random bits.
    pub fn random() -> Self {
        Self(RandomState::new().hash_one(()))
    }
}

/// Where a shard's offsets come from, and so what its cursors say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) epoch: Epoch,
    /// The offsets are a carrier's: they grow over all channels and are the same on every node.
    pub(crate) carried: bool,
}

impl History {
    /// The position after `offset` of `channel`. Channel numbers are an engine's own, so a cursor that other nodes
    /// understand names none; it needs none where offsets are of all channels.
    pub(crate) fn cursor(self, channel: ChannelId, offset: Offset) -> Cursor {
        Cursor { epoch: self.epoch, channel: self.channel(channel), offset }
    }

    /// How cursors name `channel`.
    pub(crate) fn channel(self, channel: ChannelId) -> ChannelId {
        if self.carried { ChannelId::ANY } else { channel }
    }
}

/// A position in a channel's log: everything up to `offset` was seen.
///
/// ```
/// use coulis::cursor::Cursor;
/// let cursor: Cursor = "1.5eed.2.1f".parse().unwrap();
/// assert_eq!((cursor.offset.0, cursor.to_string()), (31, "1.5eed.2.1f".into()));
/// assert!("2.5eed.2.1f".parse::<Cursor>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The incarnation of the log.
    pub epoch: Epoch,
    /// The channel's number in that incarnation; 0 where offsets are a carrier's, which are of all channels.
    pub channel: ChannelId,
    /// The last offset that was seen; 0 before the first.
    pub offset: Offset,
}

/// Which event of a channel's log is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The one with this offset, whatever the log's incarnation.
    Offset(Offset),
    /// The one whose result brought this cursor.
    Cursor(Cursor),
}

/// A text that is no cursor of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{:x}.{:x}.{:x}", self.epoch.0, self.channel.0, self.offset.0)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NotACursor).and_then(hexadecimal);
        let (version, epoch, channel, offset) = (next()?, next()?, next()?, next()?);
        let channel = u32::try_from(channel).map_err(|_| NotACursor)?;
        if version != 1 || parts.next().is_some() {
            return Err(NotACursor);
        }
        Ok(Self { epoch: Epoch(epoch), channel: ChannelId(channel), offset: Offset(offset) })
    }
}

fn hexadecimal(digits: &str) -> Result<u64, NotACursor> {
    // `from_str_radix` would take a sign.
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(NotACursor)
}

impl fmt::Display for NotACursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a cursor: give back what `extensions.coulis.cursor` said")
    }
}

impl std::error::Error for NotACursor {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            "1",
            "1.2.3",
            "1.2.3.4.5",
            "2.1.1.1",
            "1.+1.1.1",
            "1.1.100000000.1",
            "1..1.1",
            "1.g.1.1",
            "1.1.1.1 ",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NotACursor), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(epoch: u64, channel: u32, offset: u64) {
            let cursor = Cursor { epoch: Epoch(epoch), channel: ChannelId(channel), offset: Offset(offset) };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }
}
