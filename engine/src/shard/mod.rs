//! One worker: inbox, index, groups, and the road of an event from its acceptance to its readers' rings.
//!
//! A shard is a step function: [`Shard::step`] takes what waits in the inbox through the road and returns. It
//! starts no thread and reads no clock; the pinned thread in [`drive`] is one driver, a test is another. It never
//! waits: not for a reader (the ring evicts), not for a resolver (the answer comes back through the inbox), not for
//! a peer (what finds no room in the peer's inbox is kept here, and new events wait meanwhile).
//!
//! Why not an async task: a batch is nanoseconds a delivery, a task switch alone costs more.

pub(crate) mod berth;
mod directory;
pub(crate) mod drive;
mod facts;
mod group;
pub(crate) mod inbox;
mod index;
mod log;
#[cfg(all(test, coulis_loom))]
mod model;
mod persistent;
pub(crate) mod receipt;
mod render;
pub(crate) mod resolve;

pub(crate) use directory::{Directory, Registration, Subscribed};
pub(crate) use group::{Group, Member};
pub(crate) use index::Index;
pub(crate) use render::Resolver;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use arc_swap::{ArcSwap, Cache};

use crate::{
    event::Stamped, frame::Address, id::ShardId, loss::Losses, metrics::Counters, notifier::Doorbell,
    payload::Payload, ring::Producer,
};
use inbox::{Control, Forward, Inbox, Outlet, Publish};
use log::Log;
use persistent::PersistentVec;
use receipt::Hold;
use render::Bodies;
use resolve::{Answer, Asked, Pending};

/// The producer's side of one subscriber.
#[derive(Debug)]
struct Reader {
    /// Never used twice: a member that names another one is not meant.
    serial: u64,
    ring: Producer<Payload>,
    losses: Arc<Losses>,
    doorbell: Arc<Doorbell>,
    lanes: Vec<Lane>,
    /// Frames were pushed in this batch.
    touched: bool,
}

/// One subscription of a reader: how many frames it got.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    subscription: u32,
    sequence: u32,
}

impl Reader {
    /// The address of the next frame of `member`; `None` if its subscription has ended or is not this reader's.
    fn address(&mut self, member: &Member) -> Option<Address> {
        if member.reader != self.serial {
            return None;
        }
        let at = usize::from(member.lane);
        if self.lanes.len() <= at {
            self.lanes.resize(at + 1, Lane::default());
        }
        let lane = &mut self.lanes[at];
        if lane.subscription < member.subscription {
            *lane = Lane { subscription: member.subscription, sequence: 0 };
        }
        (lane.subscription == member.subscription).then(|| {
            lane.sequence = lane.sequence.wrapping_add(1);
            Address { subscription: lane.subscription, sequence: lane.sequence }
        })
    }

    /// Pushes a frame for `member`; a full ring gives up its oldest, which is noted. Answers `None` if the member
    /// has gone, and otherwise how many results were taken back.
    fn push(&mut self, member: &Member, payload: Payload) -> Option<u64> {
        let address = self.address(member)?;
        let Some((evicted, bits)) = self.ring.push_or_evict(payload, address.to_bits()) else {
            return Some(0);
        };
        let address = Address::from_bits(bits);
        // Without a lane the subscription has ended: nobody is there to be told.
        if let Some(lane) = self.lanes.iter().position(|lane| lane.subscription == address.subscription) {
            self.losses.note(lane, address, evicted.offset());
        }
        Some(u64::from(!evicted.is_lost()))
    }
}

/// What became of the deliveries of one step; added to the counters at once.
#[derive(Debug, Default)]
struct Tally {
    matched: u64,
    denied: u64,
    failed: u64,
    pushed: u64,
    dropped: u64,
    discarded: u64,
}

/// One worker's state; see the module's documentation.
#[derive(Debug)]
pub(crate) struct Shard {
    id: ShardId,
    outlet: Outlet,
    index: Cache<Arc<ArcSwap<Index>>, Arc<Index>>,
    peers: Arc<[Inbox]>,
    /// Forwards that found no room in their peer's inbox, in order.
    outbox: VecDeque<(ShardId, Forward)>,
    logs: HashMap<crate::id::ChannelId, Log>,
    readers: Vec<Option<Reader>>,
    touched: Vec<u32>,
    bodies: Bodies,
    asked: BTreeMap<u64, Asked>,
    counters: Arc<Counters>,
    publishes: Vec<Publish>,
    forwards: Vec<Forward>,
    batch_max: usize,
    asked_max: usize,
    stopping: bool,
}

impl Shard {
    pub(crate) fn new(
        id: ShardId,
        outlet: Outlet,
        index: &Arc<ArcSwap<Index>>,
        peers: Arc<[Inbox]>,
        counters: Arc<Counters>,
        limits: &crate::limits::Limits,
    ) -> Self {
        Self {
            id,
            outlet,
            index: Cache::new(Arc::clone(index)),
            peers,
            outbox: VecDeque::new(),
            logs: HashMap::new(),
            readers: Vec::new(),
            touched: Vec::new(),
            bodies: Bodies::new(limits),
            asked: BTreeMap::new(),
            counters,
            publishes: Vec::new(),
            forwards: Vec::new(),
            batch_max: limits.batch_commands_max,
            asked_max: limits.resolver_pending_max,
            stopping: false,
        }
    }

    /// Takes one batch through the road. Answers whether there was anything to do.
    ///
    /// The order is what makes promise P7 hold: events are taken out *before* control messages and the snapshot, so
    /// a registration that returned before an event was published is seen by that event.
    pub(crate) fn step(&mut self) -> bool {
        let (mut publishes, mut forwards) =
            (std::mem::take(&mut self.publishes), std::mem::take(&mut self.forwards));
        self.outlet.take_forwards(&mut forwards, self.batch_max);
        if self.flush_outbox() {
            self.outlet.take_publishes(&mut publishes, self.batch_max);
        }
        let mut busy = self.control() || !publishes.is_empty() || !forwards.is_empty();
        let index = Arc::clone(self.index.load());
        for forward in forwards.drain(..) {
            self.dispatch(&index, forward);
        }
        for publish in publishes.drain(..) {
            self.accept(&index, publish);
        }
        busy |= self.notify();
        (self.publishes, self.forwards) = (publishes, forwards);
        busy
    }

    /// Step 4 of the road: this is the channel's home, the only place where its offsets are given.
    fn accept(&mut self, index: &Index, Publish { channel, event, shards, hold }: Publish) {
        let offset = self.logs.entry(channel).or_default().stamp();
        self.counters.published.add_owned(1);
        let event = Arc::new(Stamped { event, channel, offset });
        for peer in shards.others(self.id) {
            let hold = hold.clone();
            self.forward(peer, Forward { event: Arc::clone(&event), hold });
        }
        self.dispatch(index, Forward { event, hold });
    }

    /// Steps 5 to 8: match, admit, render once, push to each.
    fn dispatch(&mut self, index: &Index, Forward { event, hold }: Forward) {
        let mut tally = Tally::default();
        self.bodies.next_event();
        for group in index.matching(&event) {
            tally.matched += group.members.len() as u64;
            if !group.predicate.admits(&*event) {
                tally.denied += group.members.len() as u64;
            } else if group.render.resolver.is_some() {
                self.ask(group, &event, hold.as_ref(), &mut tally);
            } else {
                let body = self.bodies.body(&group.render, &event, &self.counters);
                self.send(&body, &group.members, &mut tally);
            }
        }
        self.count(&tally, hold.as_ref());
    }

    /// Step 8: one frame a member. Answers how many members have gone.
    fn push(&mut self, body: &Payload, members: &PersistentVec<Member>, tally: &mut Tally) -> u64 {
        let (mut gone, mut shares) = (0, body.shares(members.len()));
        for (member, share) in members.chunks().flatten().zip(&mut shares) {
            let reader = self.readers.get_mut(member.slot as usize).and_then(Option::as_mut);
            let Some((reader, dropped)) =
                reader.and_then(|reader| reader.push(member, share).map(|dropped| (reader, dropped)))
            else {
                gone += 1;
                continue;
            };
            tally.dropped += dropped;
            if !std::mem::replace(&mut reader.touched, true) {
                self.touched.push(member.slot);
            }
        }
        gone
    }

    /// Step 8 for a result.
    fn send(&mut self, body: &Payload, members: &PersistentVec<Member>, tally: &mut Tally) {
        tally.pushed += members.len() as u64;
        tally.discarded += self.push(body, members, tally);
    }

    /// Step 9: one wake for each reader that got frames in this batch.
    fn notify(&mut self) -> bool {
        let busy = !self.touched.is_empty();
        let mut wakes = 0;
        for slot in self.touched.drain(..) {
            if let Some(reader) = &mut self.readers[slot as usize] {
                reader.touched = false;
                wakes += u64::from(reader.doorbell.ring());
            }
        }
        self.counters.wakes.add_owned(wakes);
        busy
    }

    fn count(&self, tally: &Tally, hold: Option<&Hold>) {
        let Counters { matched, denied, failed, pushed, dropped, discarded, .. } = &*self.counters;
        matched.add_owned(tally.matched);
        denied.add_owned(tally.denied);
        failed.add_owned(tally.failed);
        pushed.add_owned(tally.pushed);
        dropped.add_owned(tally.dropped);
        discarded.add_owned(tally.discarded);
        if let Some(hold) = hold {
            hold.add(tally.matched, tally.pushed, tally.denied, tally.dropped, tally.failed);
        }
    }

    fn forward(&mut self, peer: ShardId, forward: Forward) {
        self.outbox.push_back((peer, forward));
        self.flush_outbox();
    }

    /// Sends what waits for peers. Answers whether nothing waits any more: only then are new events taken.
    fn flush_outbox(&mut self) -> bool {
        while let Some((peer, forward)) = self.outbox.pop_front() {
            if let Err(forward) = self.peers[usize::from(peer.0)].forward(forward) {
                self.outbox.push_front((peer, forward));
                return false;
            }
        }
        true
    }

    /// Applies all control messages: they are few, bounded by the subscribers and the resolvers' jobs.
    fn control(&mut self) -> bool {
        let mut any = false;
        while let Some(control) = self.outlet.control() {
            any = true;
            match control {
                Control::Open { slot, serial, ring, losses, doorbell } => {
                    let slot = slot as usize;
                    if self.readers.len() <= slot {
                        self.readers.resize_with(slot + 1, || None);
                    }
                    self.readers[slot] =
                        Some(Reader { serial, ring, losses, doorbell, lanes: Vec::new(), touched: false });
                }
                Control::Close { slot, serial } => self.close(slot, serial),
                Control::Answer(answer) => self.answer(answer),
                Control::Stop => self.stopping = true,
            }
        }
        any
    }

    /// The reader is gone: what it did not read is discarded, and counted so.
    fn close(&mut self, slot: u32, serial: u64) {
        let reader = self.readers[slot as usize].take_if(|reader| reader.serial == serial);
        let Some(mut reader) = reader else { return };
        let mut unread = 0;
        while let Some((payload, _)) = reader.ring.reclaim() {
            unread += u64::from(!payload.is_lost());
        }
        self.counters.discarded.add_owned(unread);
    }

    /// Detour of step 7: the resolver's result for (event, render) is asked for once.
    fn ask(&mut self, group: &Arc<Group>, event: &Arc<Stamped>, hold: Option<&Hold>, tally: &mut Tally) {
        let asked = self.asked.entry(group.render.serial).or_default();
        if asked.join(group, event) {
            return;
        }
        match asked.ask(group, event, hold, self.outlet.inbox(), self.asked_max) {
            Ok(()) => self.counters.resolver_calls.add_owned(1),
            Err(_overloaded) => {
                if asked.is_empty() {
                    self.asked.remove(&group.render.serial);
                }
                self.lose(event, &group.members, tally);
            }
        }
    }

    /// The detour's return: answers may come in any order, deliveries go out in the order of the events.
    fn answer(&mut self, answer: Answer) {
        let serial = answer.render;
        let Some(asked) = self.asked.get_mut(&serial) else { return };
        let ready = asked.settle(answer);
        if asked.is_empty() {
            self.asked.remove(&serial);
        }
        for pending in ready {
            self.deliver(pending);
        }
    }

    fn deliver(&mut self, Pending { event, groups, result, hold, .. }: Pending) {
        let Some(group) = groups.first() else { return };
        let mut tally = Tally::default();
        let body = result.map(|result| self.bodies.resolved(&group.render, &event, result, &self.counters));
        for group in &groups {
            match &body {
                Some(body) => self.send(body, &group.members, &mut tally),
                None => self.lose(&event, &group.members, &mut tally),
            }
        }
        self.count(&tally, hold.as_ref());
    }

    /// A loss before the ring: a frame of its own tells each member, at once, though earlier events may still wait
    /// for their results.
    fn lose(&mut self, event: &Stamped, members: &PersistentVec<Member>, tally: &mut Tally) {
        tally.failed += members.len() as u64;
        self.push(&Payload::lost(event.channel, event.offset), members, tally);
    }

    /// Whether a stop was asked for and everything accepted has left.
    pub(crate) fn drained(&self) -> bool {
        self.stopping && self.is_idle()
    }

    /// Whether the next step would find nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.outlet.is_empty()
    }

    /// Before sleeping; see [`Outlet::arm`].
    pub(crate) fn arm(&self) {
        self.outlet.arm();
    }
}

impl Drop for Shard {
    /// Results that were asked for and did not come are lost deliveries; those that wait behind them are not.
    fn drop(&mut self) {
        for pending in std::mem::take(&mut self.asked).into_values().flat_map(Asked::abandon) {
            self.deliver(pending);
        }
        self.notify();
    }
}
