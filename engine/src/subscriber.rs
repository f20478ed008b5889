//! The reading side: one reader, its ring, its subscriptions.

use std::{fmt, sync::Arc};

use crate::{
    control::{ControlPlane, Opened, Seat},
    envelope,
    error::LimitExceeded,
    frame::Address,
    id::{Offset, ShardId},
    limits::Limits,
    notifier::{Doorbell, Mailbox},
    payload::Payload,
    ring::Consumer,
    router::Channel,
    shard::{Member, Registration, inbox::Control},
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

/// Frames that a reader did not get, because it was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first offset that may be missing.
    pub from: Offset,
    /// The last offset that may be missing; `None` if nothing came after the loss yet.
    pub to: Option<Offset>,
    /// How many frames are missing.
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
    losses: Losses,
}

/// Frames that were taken back: how many this round asks about, how many earlier rounds have settled, and the marks
/// that came in this round.
#[derive(Debug, Default)]
struct Losses {
    asked: u64,
    settled: u64,
    marks: usize,
    /// Something was read since the last question.
    unread: bool,
}

impl Losses {
    /// The round is over.
    fn settle(&mut self) {
        (self.settled, self.marks) = (self.asked, 0);
    }
}

impl Subscriber {
    pub(crate) fn new(plane: Arc<ControlPlane>, Opened { seat, ring, doorbell }: Opened) -> Self {
        Self {
            plane,
            seat,
            ring,
            doorbell,
            subscriptions: Vec::new(),
            next_number: 0,
            free_lanes: Vec::new(),
            losses: Losses::default(),
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
        let (mut delivered, mut discarded, mut taken) = (0, 0, 1);
        while delivered < max && taken > 0 {
            taken = ring.take(max - delivered, |payload, bits| {
                let address = Address::from_bits(bits);
                losses.marks += usize::from(payload.is_mark());
                let place = subscriptions.binary_search_by_key(&address.subscription, Active::number);
                match place.ok().and_then(|place| subscriptions.get_mut(place)) {
                    Some(active) => delivered += usize::from(active.deliver(&payload, address, &mut take)),
                    None if address == Address::SETTLED => losses.settle(),
                    None => discarded += u64::from(!payload.is_mark()),
                }
            });
            losses.unread |= taken > 0;
        }
        if taken > 0 {
            self.doorbell.remind();
        } else if std::mem::take(&mut self.losses.unread) {
            self.ask();
        }
        self.plane.count_drained(delivered as u64, discarded);
        delivered
    }

    /// After frames were taken back: asks the shard where each subscription stands, so that one whose last frames
    /// are missing learns it too. The shard answers with as many marks as there is room for, and reading them asks
    /// for the next ones. (A mark may be evicted as well: then the whole round is repeated.)
    fn ask(&mut self) {
        let Losses { asked, settled, marks, .. } = &mut self.losses;
        if self.ring.evicted() > *settled {
            if *marks == 0 {
                *asked = self.ring.evicted();
            }
            let Seat { shard, slot, serial } = self.seat;
            let settle = Control::Settle { slot, serial, lane: *marks };
            self.plane.inbox(shard).control(settle);
        }
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
        let max = limits.subscriptions_per_subscriber_max.min(usize::from(u16::MAX));
        LimitExceeded::check("subscriptions_per_subscriber_max", self.len() + 1, max)?;
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

    pub(crate) fn keep(&mut self, id: Arc<str>, registration: Registration, channels: Box<[Arc<Channel>]>) {
        let id_json = quote(&id).into();
        let active = Active { id, id_json, registration, channels, sequence: 0, offset: Offset(0) };
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
        let mark = payload.is_mark();
        let expected = self.sequence.wrapping_add(u32::from(!mark));
        let count = address.sequence.wrapping_sub(expected);
        let delivery = |content| Delivery { id: &self.id, id_json: &self.id_json, content };
        if count > 0 {
            let to = (!mark).then(|| Offset(payload.offset().0.saturating_sub(1)));
            take(delivery(Content::Gap(Gap { from: Offset(self.offset.0 + 1), to, count })));
        }
        if !mark {
            take(delivery(Content::Result(payload)));
            self.offset = payload.offset();
        }
        self.sequence = address.sequence;
        !mark
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let registrations = self.subscriptions.iter().map(Active::registration);
        self.plane.unsubscribe(self.seat.shard, registrations);
        self.plane.close_reader(self.seat);
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("subscriptions", &self.subscriptions.len()).finish_non_exhaustive()
    }
}
