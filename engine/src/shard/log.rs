//! A channel's log on its home shard: the single writer that gives offsets.

use crate::id::Offset;

/// The last offset given.
#[derive(Debug, Default)]
pub(super) struct Log {
    last: Offset,
}

impl Log {
    /// The next offset, from 1, without holes.
    pub(super) fn stamp(&mut self) -> Offset {
        self.last.0 += 1;
        self.last
    }
}
