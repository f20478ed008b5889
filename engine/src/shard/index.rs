//! The copy-on-write index: channel → groups. Readers see one snapshot; a change copies what it changes.

use std::sync::Arc;

use super::{group::Group, persistent::PersistentVec};
use crate::{event::Stamped, id::ChannelId};

/// The groups of one channel.
pub(crate) type Groups = PersistentVec<Arc<Group>>;

/// An immutable snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// By the channel's number.
    channels: PersistentVec<Groups>,
}

impl Index {
    /// The groups that an event may be for, by channel and event type: its own channel's, then those of `"*"`.
    pub(crate) fn matching<'a>(&'a self, event: &'a Stamped) -> impl Iterator<Item = &'a Arc<Group>> {
        let channels = [event.channel, ChannelId::ANY].into_iter();
        let groups =
            channels.filter_map(|channel| self.channels.get(channel.0 as usize)).flat_map(Groups::iter);
        groups.filter(|group| group.wants(event.event.event_type()))
    }

    /// Replaces the groups of one channel.
    pub(crate) fn set(&mut self, channel: ChannelId, groups: Groups) {
        let at = channel.0 as usize;
        while self.channels.len() <= at {
            self.channels.push(Groups::default());
        }
        self.channels.set(at, groups);
    }
}
