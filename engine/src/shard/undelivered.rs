//! What an engine that closes leaves undelivered: events by name, and what their readers are still to be told.
//!
//! When the time to close is over, events are matched and no longer delivered. A frame for each of them would take as
//! long as delivering them, so the losses of a group are added up, and each of its members is told once, by a frame
//! whose number jumps over those that are missing.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use crossbeam::queue::SegQueue;

use super::group::Group;
use crate::{
    event::{Event, Stamped},
    id::Offset,
};

/// An event that was accepted, and of which deliveries were lost because the engine closed.
#[derive(Clone, Debug)]
pub struct Undelivered {
    pub(crate) event: Arc<Stamped>,
    pub(crate) deliveries: u64,
}

impl Undelivered {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.event.event
    }

    /// Its position in its channel.
    pub fn offset(&self) -> Offset {
        self.event.offset
    }

    /// How many subscriptions did not get it, though their policy admits it.
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }
}

/// Written by shards that end. Bounded by what may wait: the inboxes' events, and those of resolvers.
pub(crate) type Names = Arc<SegQueue<Undelivered>>;

/// The losses of one group that its members were not told of yet.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) group: Arc<Group>,
    pub(super) frames: u32,
    /// The first of them, which some member may have seen on another node.
    pub(super) early: Vec<Offset>,
    pub(super) last: Arc<Stamped>,
}

/// Those of all groups, in the order of each group's first loss.
#[derive(Debug, Default)]
pub(super) struct AllLost {
    lost: Vec<Lost>,
    /// Where each group stands, by its address, which it keeps while it stands there.
    places: HashMap<usize, usize>,
}

impl AllLost {
    /// Adds a loss; `ahead`: the furthest position of a member that had seen more than this node.
    pub(super) fn add(&mut self, group: &Arc<Group>, event: &Arc<Stamped>, ahead: Offset) {
        let early = (event.offset <= ahead).then_some(event.offset);
        match self.places.entry(Arc::as_ptr(group).addr()) {
            Entry::Occupied(place) => {
                let lost = &mut self.lost[*place.get()];
                lost.frames += 1;
                lost.early.extend(early);
                lost.last = Arc::clone(event);
            }
            Entry::Vacant(place) => {
                place.insert(self.lost.len());
                let (group, last) = (Arc::clone(group), Arc::clone(event));
                self.lost.push(Lost { group, frames: 1, early: early.into_iter().collect(), last });
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<Lost> {
        self.places.clear();
        std::mem::take(&mut self.lost)
    }
}
