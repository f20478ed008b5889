//! The reading side: one reader, its ring, its subscriptions.

use std::{fmt, sync::Arc};

use crate::{
    control::{ControlPlane, Opened, Seat},
    envelope,
    error::LimitExceeded,
    frame::Address,
    id::{ChannelId, Offset, ShardId},
    limits::Limits,
    loss::Losses,
    notifier::{Doorbell, Mailbox},
    payload::Payload,
    ring::Consumer,
    router::Channel,
    shard::{Member, Registration},
    value::quote,
};

/// How a subscriber is opened.
#[derive(Clone, Debug, Default)]
pub struct SubscriberOptions {
    /// Where the subscriber announces its frames, and under which token. `None`: the reader asks by itself.
    pub mailbox: Option<(Arc<Mailbox>, u64)>,
    /// Frames that may wait, instead of `Limits::ring_frames_max`.
    pub ring_frames_max: Option<usize>,
}

/// Frames that a reader did not get, because it or its resolver was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first offset that may be missing; 1 if the subscription has several channels.
    pub from: Offset,
    /// The last offset that may be missing; `None` if that is open: the subscription has several channels, each with
    /// offsets of its own, or a resolver, whose losses may be told before earlier results.
    pub to: Option<Offset>,
    /// How many frames are missing, exactly: the gaps of a subscription add up to its losses.
    pub count: u32,
}

/// What a reader gets: a result, or the notice of a gap before the next result.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The subscription's id.
    pub id: &'a str,
    /// The subscription's id as JSON text.
    pub id_json: &'a str,
    /// The result or the gap.
    pub content: Content<'a>,
}

/// What a delivery holds.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// An execution result.
    Result(&'a Payload),
    /// A loss, told before what came after it.
    Gap(Gap),
}

impl Delivery<'_> {
    /// Appends this as a `next` message with the subscription's id.
    pub fn write_next(&self, out: &mut Vec<u8>) {
        match self.content {
            Content::Result(payload) => envelope::write_next(out, self.id_json, payload.body()),
            Content::Gap(gap) => envelope::write_next(out, self.id_json, gap.body().as_bytes()),
        }
    }
}

impl Gap {
    /// The execution result that tells of the gap: no data, and `extensions.coulis.gap`.
    pub fn body(&self) -> String {
        let to = self.to.map_or("null".into(), |Offset(to)| to.to_string());
        let (Offset(from), count) = (self.from, self.count);
        format!(
            r#"{{"data":null,"extensions":{{"coulis":{{"gap":{{"from":{from},"to":{to},"count":{count},"reason":"overflow"}}}}}}}}"#
        )
    }
}

/// One subscription, as its reader keeps it.
#[derive(Debug)]
pub(crate) struct Active {
    id: Arc<str>,
    id_json: Box<str>,
    registration: Registration,
    channels: Box<[Arc<Channel>]>,
    range: Range,
    /// The last frame seen, and the offset of its event.
    sequence: u32,
    offset: Offset,
}

/// One reader: opened by [`crate::engine::Engine::open`], it holds a ring, and any number of subscriptions up to
/// `subscriptions_per_subscriber_max`. Dropping it ends them all.
pub struct Subscriber {
    plane: Arc<ControlPlane>,
    seat: Seat,
    ring: Consumer<Payload>,
    doorbell: Arc<Doorbell>,
    /// By number, which only grows: few enough that a search by id looks at each.
    subscriptions: Vec<Active>,
    next_number: u32,
    free_lanes: Vec<u16>,
    losses: Arc<Losses>,
}

impl Subscriber {
    pub(crate) fn new(plane: Arc<ControlPlane>, Opened { seat, ring, losses, doorbell }: Opened) -> Self {
        Self {
            plane,
            seat,
            ring,
            doorbell,
            subscriptions: Vec::new(),
            next_number: 0,
            free_lanes: Vec::new(),
            losses,
        }
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.seat.shard
    }

    pub(crate) fn belongs_to(&self, plane: &Arc<ControlPlane>) -> bool {
        Arc::ptr_eq(&self.plane, plane)
    }

    /// Hands up to `max` results, oldest first, to `take`; answers how many. Gap notices come between and are not
    /// counted. Never waits.
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(Delivery<'_>)) -> usize {
        self.doorbell.answer();
        let Self { ring, subscriptions, losses, .. } = self;
        // Before the frames that follow: what was taken back so far came before all of them.
        losses.look(|address, offset| {
            if let Some(active) = find(subscriptions, address) {
                active.lose(address.sequence, active.range.to(offset), &mut take);
            }
        });
        let (mut delivered, mut discarded, mut taken) = (0, 0, 1);
        while delivered < max && taken > 0 {
            taken = ring.take(max - delivered, |payload, bits| {
                let address = Address::from_bits(bits);
                match find(subscriptions, address) {
                    Some(active) => delivered += usize::from(active.deliver(&payload, address, &mut take)),
                    None => discarded += u64::from(!payload.is_lost()),
                }
            });
        }
        if taken > 0 {
            self.doorbell.remind();
        }
        self.plane.count_drained(delivered as u64, discarded);
        delivered
    }

    /// Ends the subscription `id`. After this nothing more of it is delivered. `false` if there is none.
    pub fn complete(&mut self, id: &str) -> bool {
        let Some(place) = self.place(id) else { return false };
        let active = self.subscriptions.remove(place);
        self.free_lanes.push(active.registration.member.lane);
        self.plane.unsubscribe(self.seat.shard, [active.registration()]);
        true
    }

    /// Whether there is a subscription `id`.
    pub fn has(&self, id: &str) -> bool {
        self.place(id).is_some()
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.subscriptions.iter().position(|active| &*active.id == id)
    }

    /// The place of a new subscription.
    pub(crate) fn reserve(&mut self, limits: &Limits) -> Result<Member, LimitExceeded> {
        LimitExceeded::check("subscriptions_per_subscriber_max", self.len() + 1, limits.lanes_max())?;
        let lifetime_max = u32::MAX as usize - 1;
        LimitExceeded::check(
            "subscriptions in one subscriber's life",
            self.next_number as usize,
            lifetime_max,
        )?;
        self.next_number += 1;
        // Lanes in use are 0..len without the free ones.
        let lane = self.free_lanes.pop().unwrap_or(self.len() as u16);
        let Seat { slot, serial, .. } = self.seat;
        Ok(Member { reader: serial, slot, subscription: self.next_number, lane })
    }

    pub(crate) fn keep(
        &mut self,
        id: Arc<str>,
        registration: Registration,
        channels: Box<[Arc<Channel>]>,
        resolved: bool,
    ) {
        let id_json = quote(&id).into();
        let range = Range::of(&channels, resolved);
        let active = Active { id, id_json, registration, channels, range, sequence: 0, offset: Offset(0) };
        if self.subscriptions.is_empty() {
            // Most readers of the direct API have one; a vector would start with room for four.
            self.subscriptions.reserve_exact(1);
        }
        self.subscriptions.push(active);
    }
}

impl Active {
    fn number(&self) -> u32 {
        self.registration.member.subscription
    }

    fn registration(&self) -> (&Registration, &[Arc<Channel>]) {
        (&self.registration, &self.channels)
    }

    /// Hands a frame out, after the notice of what is missing before it. Answers whether it was a result.
    fn deliver(&mut self, payload: &Payload, address: Address, take: &mut impl FnMut(Delivery<'_>)) -> bool {
        if payload.is_lost() {
            self.lose(address.sequence, self.range.to(payload.offset()), take);
            return false;
        }
        let before = Offset(payload.offset().0.saturating_sub(1));
        self.lose(address.sequence.wrapping_sub(1), self.range.to_before(before), take);
        (self.sequence, self.offset) = (address.sequence, payload.offset());
        take(Delivery { id: &self.id, id_json: &self.id_json, content: Content::Result(payload) });
        true
    }

    /// Tells that frames up to `sequence` are missing, unless they came or were told before.
    fn lose(&mut self, sequence: u32, to: Option<Offset>, take: &mut impl FnMut(Delivery<'_>)) {
        let count = sequence.wrapping_sub(self.sequence);
        if count == 0 || count.cast_signed() < 0 {
            return;
        }
        let gap = Gap { from: self.range.from(self.offset), to, count };
        take(Delivery { id: &self.id, id_json: &self.id_json, content: Content::Gap(gap) });
        self.sequence = sequence;
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
        if self == Self::Mixed { Offset(1) } else { Offset(last + 1) }
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

/// The active subscription that a frame is for.
fn find(subscriptions: &mut [Active], address: Address) -> Option<&mut Active> {
    let place = subscriptions.binary_search_by_key(&address.subscription, Active::number).ok()?;
    subscriptions.get_mut(place)
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let registrations = self.subscriptions.iter().map(Active::registration);
        self.plane.unsubscribe(self.seat.shard, registrations);
        // The shard takes back what comes from now on; if it has gone already, nobody else would.
        let mut unread = 0;
        while self.ring.take(usize::MAX, |payload, _| unread += u64::from(!payload.is_lost())) > 0 {}
        self.plane.count_drained(0, unread);
        self.plane.close_reader(self.seat);
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("subscriptions", &self.subscriptions.len()).finish_non_exhaustive()
    }
}
