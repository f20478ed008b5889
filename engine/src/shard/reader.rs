//! The producer's side of one subscriber: its ring, its subscriptions' frame numbers, and what a full ring means.

use std::{
    collections::{BTreeMap, HashMap},
    iter,
    mem::offset_of,
    sync::Arc as Shared,
};

use super::{breaker::Breaker, group::Member};
use crate::{
    event::Stamped,
    frame::Address,
    id::{ChannelId, Millis, Offset},
    limits::Limits,
    link::Link,
    loss::Loss,
    overflow::Overflow,
    payload::Payload,
    ring::Producer,
    security::{Metered, Meters, SecurityContext},
    sync::Arc,
};

/// See the module's documentation. What a push touches lies in the first cache line: `ring` begins with its part.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Reader {
    /// Never used twice: a member that names another one is not meant.
    pub(super) serial: u64,
    /// The first subscription lies here: most readers have no other.
    lane: Lane,
    /// Bytes of bodies that may still be pushed, as far as this side knows what was read. Less than none, if one body
    /// was larger than the ring's bound.
    bytes_left: i64,
    /// Frames were pushed in this batch.
    pub(super) touched: bool,
    /// Something is kept aside: nothing else may be pushed before it.
    keeps: bool,
    ring: Producer<Payload>,
    pub(super) link: Arc<Link>,
    more_lanes: Box<[Lane]>,
    /// Bytes that the reader had read when this side last looked.
    read: u64,
    limits: Shared<Limits>,
    /// Made where it is needed.
    aside: Option<Box<Aside>>,
}

// Two cache lines, and the ring's part of the first one.
#[cfg(not(coulis_loom))]
const _: () = assert!(size_of::<Option<Reader>>() == 128 && offset_of!(Reader, ring) == 32);

/// What few readers need.
#[derive(Debug, Default)]
struct Aside {
    /// Buckets of subscriptions whose deliveries have a rate, and what they share with others.
    meters: Option<(Meters, Shared<Metered>)>,
    breaker: Breaker,
    /// The event up to which each resumed subscription was replayed, by its lane: what is live comes after it.
    replayed: Vec<Offset>,
    /// What subscriptions that coalesce have waiting for room.
    kept: BTreeMap<u32, Kept>,
    /// Bytes of all that is kept, with the keys.
    kept_bytes: i64,
}

/// One subscription of a reader.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    subscription: u32,
    /// How many frames it got.
    sequence: u32,
}

/// What the rates of a subscription say of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rated {
    /// There are none.
    #[default]
    Free,
    /// It took its tokens.
    Passed,
    /// There was no token for it.
    Withheld,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    /// The subscription has ended, or was not there yet when the event came.
    pub(super) gone: bool,
    /// The frame was not taken: it is among the dropped.
    pub(super) refused: bool,
    /// What its rates said.
    pub(super) rated: Rated,
    /// Results that were kept for a subscription that has ended since.
    pub(super) discarded: u64,
    /// Results that were lost to a full ring.
    pub(super) dropped: u64,
    /// Results that a newer one replaced.
    pub(super) coalesced: u64,
}

/// A channel and what its event holds at the path of the key, as JSON text.
type Key = (ChannelId, Box<str>);

/// The newest result of each key, oldest first.
#[derive(Debug)]
struct Kept {
    member: Member,
    next: u64,
    places: HashMap<Key, u64>,
    results: BTreeMap<u64, (Key, Payload)>,
}

impl Reader {
    pub(super) fn new(
        serial: u64,
        ring: Producer<Payload>,
        link: Arc<Link>,
        limits: &Shared<Limits>,
    ) -> Self {
        Self {
            serial,
            lane: Lane::default(),
            bytes_left: bound(limits),
            touched: false,
            keeps: false,
            ring,
            link,
            more_lanes: Box::default(),
            read: 0,
            limits: Shared::clone(limits),
            aside: None,
        }
    }

    /// The reader of `member`, if it is still there: every method that takes a member is about its own.
    #[inline]
    pub(super) fn of<'a>(readers: &'a mut [Option<Self>], member: &Member) -> Option<&'a mut Self> {
        readers.get_mut(member.slot as usize)?.as_mut().filter(|reader| reader.serial == member.reader)
    }

    /// Lists the reader, once a batch, among those in `slots` that are to be woken.
    #[inline]
    pub(super) fn touch(&mut self, slot: u32, slots: &mut Vec<u32>) {
        if !std::mem::replace(&mut self.touched, true) {
            slots.push(slot);
        }
    }

    /// Step 8 of the road: a frame for `member`, where nothing stands in the way. Else the payload comes back, and
    /// [`Reader::push`] knows what to do.
    #[inline]
    pub(super) fn push_at_once(
        &mut self,
        member: &Member,
        payload: Payload,
        bytes: i64,
    ) -> Result<(), Payload> {
        let lane = match usize::from(member.lane) {
            0 => &mut self.lane,
            more => match self.more_lanes.get_mut(more - 1) {
                Some(lane) => lane,
                None => return Err(payload),
            },
        };
        // Both marks are looked at in one go.
        if lane.subscription != member.subscription
            || (member.resumed | member.limited)
            || bytes > self.bytes_left
            || self.keeps
        {
            return Err(payload);
        }
        let (subscription, sequence) = (lane.subscription, lane.sequence.wrapping_add(1));
        let address = Address { subscription, sequence, limited: false };
        self.ring.push(payload, address.to_bits()).map_err(|full| full.0)?;
        lane.sequence = address.sequence;
        self.bytes_left -= bytes;
        Ok(())
    }

    /// The same, and what `overflow` says if there is no room.
    pub(super) fn push(
        &mut self,
        member: &Member,
        payload: Payload,
        overflow: &Overflow,
        event: &Stamped,
        now: Millis,
    ) -> Pushed {
        let mut pushed = Pushed::default();
        if !self.is_live(member, event.offset) {
            return Pushed { gone: true, ..pushed };
        }
        if member.limited && !payload.is_lost() {
            match self.take_token(member, now) {
                Some(true) => pushed.rated = Rated::Passed,
                Some(false) => return self.limit(member, &payload),
                None => return Pushed { gone: true, ..pushed },
            }
        }
        match overflow {
            Overflow::DropOldest => self.push_or_evict(member, payload, &mut pushed),
            Overflow::LatestPerKey(path) if !payload.is_lost() => {
                self.push_or_keep(member, payload, path, event, &mut pushed);
            }
            _ => self.push_or_refuse(member, payload, &mut pushed),
        }
        pushed
    }

    /// Adds a subscription whose deliveries have a rate, or replaces its context.
    pub(super) fn meter(&mut self, metered: &Shared<Metered>, member: &Member, context: &SecurityContext) {
        let new = || (Meters::new(metered), Shared::clone(metered));
        let (meters, metered) = self.aside().meters.get_or_insert_with(new);
        meters.put(metered, member.lane, member.subscription, context);
    }

    /// Counts an error of the policy or the resolver of `member`; answers whether it ends the subscription.
    pub(super) fn strike(&mut self, member: &Member, now: Millis) -> bool {
        if !self.is_live(member, Offset(u64::MAX)) {
            return false;
        }
        let limits = Shared::clone(&self.limits);
        let end = self.aside().breaker.strike(member, now, &limits);
        let Some(end) = end else { return false };
        self.link.end_one(member.subscription, end);
        true
    }

    /// Whether the breaker has ended `member`.
    pub(super) fn is_broken(&self, member: &Member) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.breaker.is_over(member))
    }

    /// The first bucket of `member` that has no token now; none is taken.
    pub(super) fn empty_bucket(&self, member: &Member, now: Millis) -> Option<&'static str> {
        let (meters, metered) = self.aside.as_ref()?.meters.as_ref()?;
        meters.empty(metered, member.lane, member.subscription, now)
    }

    /// How many frames wait, if another one may find no room.
    pub(super) fn waiting_if_full(&mut self) -> Option<usize> {
        let is_full = !self.fits(1) || !self.ring.has_room() || self.keeps;
        is_full.then(|| self.ring.len() + self.kept())
    }

    /// Whether the rates let a frame pass. `None`: the subscription is not known yet, so the event is an earlier one.
    fn take_token(&self, member: &Member, now: Millis) -> Option<bool> {
        let (meters, metered) = self.aside.as_ref()?.meters.as_ref()?;
        meters.take(metered, member.lane, member.subscription, now)
    }

    fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    fn meters(&mut self) -> Option<&mut Meters> {
        Some(&mut self.aside.as_mut()?.meters.as_mut()?.0)
    }

    /// A frame that a rate withholds: its reader is told as it is of one that found no room.
    fn limit(&mut self, member: &Member, payload: &Payload) -> Pushed {
        let address = Address { limited: true, ..self.next_address(member) };
        self.link.losses.note(Loss::Refused, usize::from(member.lane), address, payload.offset());
        if let Some(meters) = self.meters() {
            meters.withhold(member.lane);
        }
        Pushed { rated: Rated::Withheld, ..Pushed::default() }
    }

    fn lane(&mut self, number: u16) -> &mut Lane {
        let Some(at) = usize::from(number).checked_sub(1) else { return &mut self.lane };
        if self.more_lanes.len() <= at {
            let mut lanes = std::mem::take(&mut self.more_lanes).into_vec();
            lanes.resize((at + 1).next_power_of_two(), Lane::default());
            self.more_lanes = lanes.into_boxed_slice();
        }
        &mut self.more_lanes[at]
    }

    /// Has the memory that the next push touches fetched.
    pub(super) fn prefetch(&self) {
        self.ring.prefetch();
    }

    /// Whether an event is for `member` now: its subscription has not ended, and the event was not replayed.
    fn is_live(&mut self, member: &Member, offset: Offset) -> bool {
        let lane = self.lane(member.lane);
        if lane.subscription < member.subscription && !member.resumed {
            *lane = Lane { subscription: member.subscription, sequence: 0 };
            self.set_replayed(member.lane, Offset(0));
        }
        self.lane(member.lane).subscription == member.subscription
            && (!member.resumed || self.replayed(member.lane) < offset)
    }

    /// The event up to which the subscription in a lane was replayed.
    fn replayed(&self, lane: u16) -> Offset {
        let replayed = self.aside.as_ref().and_then(|aside| aside.replayed.get(usize::from(lane)));
        replayed.copied().unwrap_or(Offset(0))
    }

    fn set_replayed(&mut self, lane: u16, offset: Offset) {
        if self.replayed(lane) == offset {
            return;
        }
        let (lane, replayed) = (usize::from(lane), &mut self.aside().replayed);
        replayed.resize(replayed.len().max(lane + 1), Offset(0));
        replayed[lane] = offset;
    }

    /// Begins a resumed subscription: what comes after `replayed` is live for it.
    pub(super) fn begin(&mut self, member: &Member, replayed: Offset) {
        if self.is_live(&Member { resumed: false, ..*member }, Offset(u64::MAX)) {
            self.set_replayed(member.lane, replayed);
        }
    }

    /// How many results are kept.
    fn kept(&self) -> usize {
        let kept = self.aside.iter().flat_map(|aside| aside.kept.values());
        kept.map(|kept| kept.results.len()).sum()
    }

    /// Makes room for `frames` that come at once, beyond the ring's bound. Answers whether `bytes` fit, too. What is
    /// kept aside has room then, as well: it may go first.
    pub(super) fn reserve(&mut self, frames: usize, bytes: i64) -> bool {
        let frames = frames + self.kept();
        let frames_max = self.limits.ring_frames_max.saturating_add(self.limits.replay_events_max);
        let kept_bytes = self.aside.as_ref().map_or(0, |aside| aside.kept_bytes);
        self.look();
        let fits = bytes + kept_bytes <= self.bytes_left && self.ring.len() + frames <= frames_max;
        if fits {
            self.ring.reserve(frames);
        }
        fits
    }

    /// A frame that tells of a loss elsewhere, to who was replayed to less than `at`.
    pub(super) fn push_notice(
        &mut self,
        member: &Member,
        payload: Payload,
        at: Offset,
        overflow: &Overflow,
    ) -> Pushed {
        let mut pushed = Pushed::default();
        if !self.is_live(member, at) {
            return Pushed { gone: true, ..pushed };
        }
        self.push_kept(&mut pushed);
        match overflow {
            // What it has the position of must not go before what is kept: it is told as any frame that had no room.
            _ if self.keeps_of(member) => pushed.dropped += self.refuse(member, &payload),
            Overflow::DropOldest => self.push_or_evict(member, payload, &mut pushed),
            _ => self.push_or_refuse(member, payload, &mut pushed),
        }
        pushed
    }

    /// Events of all offsets are live again: those that were replayed had offsets of another history.
    pub(super) fn forget_replays(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.replayed.clear();
        }
    }

    fn push_or_evict(&mut self, member: &Member, payload: Payload, pushed: &mut Pushed) {
        let bytes = size_of_body(&payload);
        while !self.fits(bytes) {
            let Some(evicted) = self.ring.reclaim() else { break };
            pushed.dropped += self.evicted(&evicted);
        }
        let address = self.next_address(member);
        self.bytes_left -= bytes;
        if let Some(evicted) = self.ring.push_or_evict(payload, address.to_bits()) {
            pushed.dropped += self.evicted(&evicted);
        }
    }

    /// Tells `member` of frames that were given up, by the last of them; `payload` is its notice. `early`: those that it may
    /// have seen on another node.
    pub(super) fn tell_lost(&mut self, member: &Member, payload: Payload, frames: u32, early: &[Offset]) {
        if self.is_live(member, payload.offset()) {
            let replayed = if member.resumed { self.replayed(member.lane) } else { Offset(0) };
            let seen = early.iter().filter(|&&offset| offset <= replayed).count() as u32;
            let lane = self.lane(member.lane);
            lane.sequence = lane.sequence.wrapping_add(frames - seen - 1);
            // It evicts nothing: what can still be read is worth more than the place where the loss is told.
            self.push_or_refuse(member, payload, &mut Pushed::default());
        }
    }

    fn push_or_refuse(&mut self, member: &Member, payload: Payload, pushed: &mut Pushed) {
        if let Err(payload) = self.try_push(member, payload) {
            pushed.refused = !payload.is_lost();
            pushed.dropped += self.refuse(member, &payload);
        }
    }

    /// Once something is kept, everything that follows is, too: older results leave first.
    fn push_or_keep(
        &mut self,
        member: &Member,
        payload: Payload,
        path: &[Box<str>],
        event: &Stamped,
        pushed: &mut Pushed,
    ) {
        self.push_kept(pushed);
        let payload = if self.keeps_of(member) { Err(payload) } else { self.try_push(member, payload) };
        let Err(payload) = payload else { return };
        let key = path.iter().try_fold(event.event.document().root(), |node, key| node.get(key));
        let key: Key = (event.channel, key.map_or("", |node| node.raw()).into());
        self.keeps = true;
        pushed.coalesced += u64::from(self.aside().keep(member, key, payload));
        while let Some(oldest) = self.kept_beyond_bounds(member.subscription) {
            pushed.dropped += self.refuse(member, &oldest);
        }
        self.refill(pushed);
    }

    fn keeps_of(&mut self, member: &Member) -> bool {
        self.keeps && self.aside().kept.contains_key(&member.subscription)
    }

    /// The oldest result kept for `subscription`, if too much is kept; the newest one stays.
    fn kept_beyond_bounds(&mut self, subscription: u32) -> Option<Payload> {
        let (bytes_max, keys_max) = (bound(&self.limits), self.limits.latest_keys_max);
        let Aside { kept, kept_bytes, .. } = self.aside();
        let kept = kept.get_mut(&subscription)?;
        let beyond = kept.results.len() > keys_max || *kept_bytes > bytes_max && kept.results.len() > 1;
        let (key, oldest) = beyond.then(|| kept.pop()).flatten()?;
        *kept_bytes -= size(&key, &oldest);
        Some(oldest)
    }

    /// Pushes what was kept, while there is room; the reader tells when there is more.
    pub(super) fn refill(&mut self, pushed: &mut Pushed) {
        self.push_kept(pushed);
        if self.keeps {
            // The reader may have made room since: it has seen the flag, or this sees the room.
            self.link.keep();
            self.push_kept(pushed);
        }
    }

    fn push_kept(&mut self, pushed: &mut Pushed) {
        if !self.keeps {
            return;
        }
        let mut kept = std::mem::take(&mut self.aside().kept);
        while let Some(mut entry) = kept.first_entry() {
            let member = entry.get().member;
            match entry.get_mut().results.pop_first() {
                None => _ = entry.remove(),
                Some((at, (key, payload)))
                    if self.is_live(&Member { resumed: false, ..member }, payload.offset()) =>
                {
                    let bytes = size(&key, &payload);
                    if let Err(payload) = self.try_push(&member, payload) {
                        entry.get_mut().results.insert(at, (key, payload));
                        break;
                    }
                    self.aside().kept_bytes -= bytes;
                    entry.get_mut().places.remove(&key);
                }
                Some((_, (key, payload))) => {
                    self.aside().kept_bytes -= size(&key, &payload);
                    pushed.discarded += 1;
                }
            }
        }
        self.keeps = !kept.is_empty();
        self.aside().kept = kept;
    }

    fn try_push(&mut self, member: &Member, payload: Payload) -> Result<(), Payload> {
        let bytes = size_of_body(&payload);
        if !self.fits(bytes) || !self.ring.has_room() {
            return Err(payload);
        }
        let address = self.next_address(member);
        self.bytes_left -= bytes;
        self.ring.push(payload, address.to_bits()).map_err(|full| full.0)
    }

    /// Whether the ring's bytes stay within their bound with `bytes` more; an empty ring takes any frame.
    fn fits(&mut self, bytes: i64) -> bool {
        bytes <= self.bytes_left || {
            self.look();
            bytes <= self.bytes_left || self.bytes_left == bound(&self.limits)
        }
    }

    /// Looks at how much was read.
    fn look(&mut self) {
        let read = self.link.read();
        self.bytes_left += (read - self.read).cast_signed();
        self.read = read;
    }

    fn next_address(&mut self, member: &Member) -> Address {
        let limited = self.meters().is_some_and(|meters| meters.take_withheld(member.lane));
        let lane = self.lane(member.lane);
        lane.sequence = lane.sequence.wrapping_add(1);
        Address { subscription: lane.subscription, sequence: lane.sequence, limited }
    }

    /// A frame that never gets into the ring: it has a number, so that its reader misses it.
    fn refuse(&mut self, member: &Member, payload: &Payload) -> u64 {
        let address = self.next_address(member);
        self.link.losses.note(Loss::Refused, usize::from(member.lane), address, payload.offset());
        u64::from(!payload.is_lost())
    }

    /// Notes a frame that was taken back; answers whether it was a result.
    fn evicted(&mut self, (payload, bits): &(Payload, u64)) -> u64 {
        self.bytes_left += size_of_body(payload);
        let address = Address::from_bits(*bits);
        // Without a lane the subscription has ended: nobody is there to be told.
        let mut lanes = iter::once(&self.lane).chain(&self.more_lanes);
        if let Some(lane) = lanes.position(|lane| lane.subscription == address.subscription) {
            self.link.losses.note(Loss::Evicted, lane, address, payload.offset());
        }
        u64::from(!payload.is_lost())
    }

    /// The reader is gone: answers how many results it leaves unread.
    pub(super) fn unread(mut self) -> u64 {
        let mut unread = 0;
        while let Some((payload, _)) = self.ring.reclaim() {
            unread += u64::from(!payload.is_lost());
        }
        unread + self.kept() as u64
    }

    /// The shard is gone, and nobody will make room for what was kept: it is lost, and its reader told.
    pub(super) fn give_up_kept(&mut self) -> Pushed {
        let mut lost = Pushed::default();
        self.refill(&mut lost);
        let kept = self.aside.as_mut().map(|aside| std::mem::take(&mut aside.kept)).unwrap_or_default();
        self.keeps = false;
        for Kept { member, results, .. } in kept.into_values() {
            for (_, payload) in results.into_values() {
                if self.is_live(&Member { resumed: false, ..member }, payload.offset()) {
                    lost.dropped += self.refuse(&member, &payload);
                } else {
                    lost.discarded += 1;
                }
            }
        }
        lost
    }
}

impl Aside {
    /// Keeps a result; answers whether it replaced an older one of its key.
    fn keep(&mut self, member: &Member, key: Key, payload: Payload) -> bool {
        self.kept_bytes += size(&key, &payload);
        let kept = self.kept.entry(member.subscription).or_insert_with(|| Kept::new(*member));
        let replaced = kept.put(key, payload);
        self.kept_bytes -= replaced.as_ref().map_or(0, |(key, payload)| size(key, payload));
        replaced.is_some()
    }
}

impl Kept {
    fn new(member: Member) -> Self {
        Self { member, next: 0, places: HashMap::new(), results: BTreeMap::new() }
    }

    /// Puts a result at the end; answers the older one of its key that it replaced.
    fn put(&mut self, key: Key, payload: Payload) -> Option<(Key, Payload)> {
        self.next += 1;
        let before = self.places.insert(key.clone(), self.next).and_then(|at| self.results.remove(&at));
        self.results.insert(self.next, (key, payload));
        before
    }

    fn pop(&mut self) -> Option<(Key, Payload)> {
        let (_, (key, payload)) = self.results.pop_first()?;
        self.places.remove(&key);
        Some((key, payload))
    }
}

fn size(key: &Key, payload: &Payload) -> i64 {
    signed(key.1.len()) + size_of_body(payload)
}

fn size_of_body(payload: &Payload) -> i64 {
    signed(payload.body().len())
}

/// Bytes in memory: 2⁶³ would not be.
pub(super) fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Bytes that may wait in a ring.
fn bound(limits: &Limits) -> i64 {
    signed(limits.ring_bytes_max)
}
