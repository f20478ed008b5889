//! The copy-on-write index: channel → groups. Readers see one snapshot; a change copies one segment and the spine.

use std::sync::Arc;

use super::group::Group;
use crate::{event::Stamped, id::ChannelId};

const SEGMENT_CHANNELS: usize = 64;

/// The groups of one channel.
type Channel = Arc<[Arc<Group>]>;

/// An immutable snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    segments: Vec<Option<Arc<[Option<Channel>; SEGMENT_CHANNELS]>>>,
}

impl Index {
    /// The groups that an event may be for, by channel and event type: its own channel's, then those of `"*"`.
    pub(crate) fn matching<'a>(&'a self, event: &'a Stamped) -> impl Iterator<Item = &'a Arc<Group>> {
        let own = self.channel(event.channel);
        let any = self.channel(ChannelId::ANY);
        own.iter().chain(any).filter(|group| group.wants(event.event.event_type()))
    }

    fn channel(&self, id: ChannelId) -> &[Arc<Group>] {
        let (segment, at) = place(id);
        let segment = self.segments.get(segment).and_then(Option::as_ref);
        segment.and_then(|segment| segment[at].as_deref()).unwrap_or_default()
    }

    /// The same index with other groups on one channel. O(channels / 64).
    pub(crate) fn with(&self, id: ChannelId, groups: Vec<Arc<Group>>) -> Self {
        let (segment, at) = place(id);
        let mut segments = self.segments.clone();
        if segments.len() <= segment {
            segments.resize(segment + 1, None);
        }
        let mut channels =
            segments[segment].as_deref().cloned().unwrap_or([const { None }; SEGMENT_CHANNELS]);
        channels[at] = (!groups.is_empty()).then(|| groups.into());
        segments[segment] = channels.iter().any(Option::is_some).then(|| Arc::new(channels));
        Self { segments }
    }
}

fn place(ChannelId(id): ChannelId) -> (usize, usize) {
    (id as usize / SEGMENT_CHANNELS, id as usize % SEGMENT_CHANNELS)
}
