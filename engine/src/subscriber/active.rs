//! One subscription as its reader keeps it: what it got, what it missed, what it is still to be told.

use std::sync::Arc;

use super::{
    Kept,
    delivery::{Content, Delivery, Gap, GapReason},
};
use crate::{
    frame::Address,
    id::{ChannelId, Offset},
    link::End,
    overflow::Overflow,
    payload::Payload,
    router::Channel,
    shard::{Member, resume::Outcome},
    value::quote,
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: Arc<str>,
    id_json: Box<str>,
    member: Member,
    /// When its context ends to be true, in seconds since 1970.
    pub(super) expires: Option<u64>,
    range: Range,
    /// A loss ends it.
    ends: bool,
    pub(super) ended: bool,
    /// The last frame seen, and the offset of its event.
    sequence: u32,
    offset: Offset,
    /// A frame that found no room or no token, and its event's offset: told once the frames before it were read.
    refused: Option<(Address, Offset)>,
    /// The answer to a wish to resume, until it is told.
    pub(super) outcome: Option<Outcome>,
}

impl Active {
    pub(super) fn new(Kept { id, member, channels, resolved, overflow, context, outcome }: Kept<'_>) -> Self {
        Self {
            id_json: quote(&id).into(),
            id,
            range: Range::of(channels, resolved),
            member,
            expires: context.expires,
            ends: *overflow == Overflow::Disconnect,
            ended: false,
            sequence: 0,
            offset: Offset(0),
            refused: None,
            outcome,
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.member.subscription
    }

    pub(super) fn lane(&self) -> u16 {
        self.member.lane
    }

    fn give(&self, content: Content<'_>, take: &mut impl FnMut(Delivery<'_>)) {
        take(Delivery { id: &self.id, id_json: &self.id_json, content });
    }

    /// Ends the subscription by the engine's will.
    pub(super) fn close(&mut self, end: &End, take: &mut impl FnMut(Delivery<'_>)) {
        if !std::mem::replace(&mut self.ended, true) {
            self.give(Content::Closed(end), take);
        }
    }

    /// Tells what became of the wish to resume, once that is known; it was known before the first frame came.
    pub(super) fn announce(&mut self, take: &mut impl FnMut(Delivery<'_>)) {
        if let Some(&resumed) = self.outcome.as_ref().and_then(|outcome| outcome.get()) {
            self.outcome = None;
            self.offset = resumed.cursor.map_or(Offset(0), |cursor| cursor.offset);
            self.give(Content::Resumed(resumed), take);
        }
    }

    /// Hands a frame out, after the notice of what is missing before it. Answers whether it was a result that was
    /// delivered.
    pub(super) fn deliver(
        &mut self,
        payload: &Payload,
        address: Address,
        take: &mut impl FnMut(Delivery<'_>),
    ) -> bool {
        if self.ended {
            return false;
        }
        if payload.is_lost() {
            self.lose(address, self.range.to(payload.offset()), take);
            return false;
        }
        let before = Offset(payload.offset().0.saturating_sub(1));
        let missing = Address { sequence: address.sequence.wrapping_sub(1), ..address };
        self.lose(missing, self.range.to_before(before), take);
        if self.ended {
            return false;
        }
        (self.sequence, self.offset) = (address.sequence, payload.offset());
        self.give(Content::Result(payload), take);
        true
    }

    /// A frame was taken back: it and all before it are missing, unless they came.
    pub(super) fn evicted(&mut self, address: Address, offset: Offset, take: &mut impl FnMut(Delivery<'_>)) {
        self.lose(address, self.range.to(offset), take);
    }

    /// A frame found no room or no token: it is told when what came before it was read, unless it ends the subscription.
    pub(super) fn refused(&mut self, address: Address, offset: Offset, take: &mut impl FnMut(Delivery<'_>)) {
        self.refused = Some((address, offset));
        if self.ends {
            self.catch_up(take);
        }
    }

    /// The ring was found empty after the refusals were noted.
    pub(super) fn catch_up(&mut self, take: &mut impl FnMut(Delivery<'_>)) {
        if let Some((address, offset)) = self.refused.take() {
            self.lose(address, self.range.to(offset), take);
        }
    }

    /// Tells that frames up to `last` are missing, unless they came or were told before.
    fn lose(&mut self, last: Address, to: Option<Offset>, take: &mut impl FnMut(Delivery<'_>)) {
        self.announce(take);
        let count = last.sequence.wrapping_sub(self.sequence);
        if count == 0 || count.cast_signed() < 0 || self.ended {
            return;
        }
        // Of several that a resolver kept waiting, the last one is not the latest.
        let to = to.filter(|_| count == 1 || self.range != Range::Resolved);
        let reason = if last.limited { GapReason::Rate } else { GapReason::Overflow };
        let from = self.range.from(self.offset);
        // A carrier's history that begins anew has offsets below those of before.
        let from = if to.is_some_and(|to| to < from) { Offset(1) } else { from };
        let gap = Gap { from, to, count, reason };
        self.ended = self.ends;
        self.give(if self.ends { Content::Ended(gap) } else { Content::Gap(gap) }, take);
        self.sequence = last.sequence;
    }
}

/// What a subscription's offsets say about a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// One channel, frames in the order of its events.
    Ordered,
    /// One channel with a resolver: the loss of an event may be told before earlier results.
    Resolved,
    /// Several channels, each with offsets of its own: no bound.
    Mixed,
}

impl Range {
    fn of(channels: &[Arc<Channel>], resolved: bool) -> Self {
        match channels {
            [channel] if channel.id != ChannelId::ANY && resolved => Self::Resolved,
            [channel] if channel.id != ChannelId::ANY => Self::Ordered,
            _ => Self::Mixed,
        }
    }

    /// The start of a loss after the result at `last`.
    fn from(self, Offset(last): Offset) -> Offset {
        if self == Self::Mixed { Offset(1) } else { Offset(last.saturating_add(1)) }
    }

    /// The end of a loss, of which `offset` is the highest that is missing.
    fn to(self, offset: Offset) -> Option<Offset> {
        (self != Self::Mixed).then_some(offset)
    }

    /// The end of a loss that is found at the result behind `offset`.
    fn to_before(self, offset: Offset) -> Option<Offset> {
        (self == Self::Ordered).then_some(offset)
    }
}
