//! Subscriptions that provably get identical bytes for an event: one predicate, one render, many members.

use std::{iter, slice, sync::Arc};

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
    /// A rate is asked before each of its frames.
    pub(crate) limited: bool,
}

/// The members of a group, of which most have one.
#[derive(Clone, Debug)]
pub(crate) enum Members {
    One(Member),
    Many(PersistentVec<Member>),
}

impl Members {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(members) => members.len(),
        }
    }

    pub(crate) fn get(&self, seat: usize) -> Option<&Member> {
        match self {
            Self::One(member) => (seat == 0).then_some(member),
            Self::Many(members) => members.get(seat),
        }
    }

    /// The member of a group that has one.
    pub(crate) fn only(&self) -> Option<&Member> {
        let Self::One(member) = self else { return None };
        Some(member)
    }

    /// The members in slices of up to 64.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[Member]> {
        let (one, many) = match self {
            Self::One(member) => (Some(slice::from_ref(member)), None),
            Self::Many(members) => (None, Some(members.chunks())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The same and `member`, on the last seat.
    pub(crate) fn and(&self, member: Member) -> Self {
        let mut members = match self {
            Self::One(first) => iter::once(*first).collect(),
            Self::Many(members) => members.clone(),
        };
        members.push(member);
        Self::Many(members)
    }

    /// The same without the one at `seat`, whose seat the last one takes; `None` if nobody is left.
    pub(crate) fn without(&self, seat: usize) -> Option<Self> {
        let Self::Many(members) = self else { return None };
        let mut members = members.clone();
        members.swap_remove(seat);
        (!members.is_empty()).then_some(Self::Many(members))
    }
}

/// An immutable group; a change of members makes a new one.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) predicate: Predicate,
    /// Event types that are wanted; empty: all.
    pub(crate) events: Arc<[Box<str>]>,
    pub(crate) render: Arc<Render>,
    pub(crate) overflow: Overflow,
    pub(crate) members: Members,
}

impl Group {
    /// The same group with other members.
    pub(crate) fn with(&self, members: Members) -> Self {
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
