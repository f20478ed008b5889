//! Subscriptions that provably get identical bytes for an event: one predicate, one render, many members.

use std::sync::Arc;

use super::{persistent::PersistentVec, render::Render};
use crate::{overflow::Overflow, policy::Predicate};

/// One subscription in a group: where its frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The reader's number, never used twice.
    pub(crate) reader: u64,
    /// The reader's place in its shard.
    pub(crate) slot: u32,
    /// The subscription's number in its reader, never used twice.
    pub(crate) subscription: u32,
    /// The subscription's place in its reader.
    pub(crate) lane: u16,
    /// It is live only from the event on that its replay ended with.
    pub(crate) resumed: bool,
}

/// An immutable group; a change of members makes a new one.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) predicate: Predicate,
    /// Event types that are wanted; empty: all.
    pub(crate) events: Arc<[Box<str>]>,
    pub(crate) render: Arc<Render>,
    pub(crate) overflow: Overflow,
    pub(crate) members: PersistentVec<Member>,
}

impl Group {
    /// The same group with other members.
    pub(crate) fn with(&self, members: PersistentVec<Member>) -> Self {
        Self {
            predicate: self.predicate.clone(),
            events: Arc::clone(&self.events),
            render: Arc::clone(&self.render),
            overflow: self.overflow.clone(),
            members,
        }
    }

    pub(crate) fn wants(&self, event_type: &str) -> bool {
        super::index::wants(&self.events, event_type)
    }
}
