//! One worker: inbox, index, groups, and the road of an event from its acceptance to its readers' rings.
//!
//! A shard is a step function: [`Shard::step`] takes what waits in the inbox through the road and returns. It
//! starts no thread and reads no clock; the pinned thread in [`drive`] is one driver, a test is another. It never
//! waits: not for a reader (the ring evicts), not for a resolver (the answer comes back through the inbox), not for
//! a peer (what finds no room in the peer's inbox is kept here, and new events wait meanwhile).
//!
//! Why not an async task: a batch is nanoseconds a delivery, a task switch alone costs more.

pub(crate) mod berth;
mod breaker;
pub(crate) mod carried;
mod cluster;
mod directory;
pub(crate) mod drive;
mod facts;
mod group;
pub(crate) mod inbox;
mod index;
#[cfg(all(test, coulis_loom))]
mod leave;
pub(crate) mod log;
#[cfg(all(test, coulis_loom))]
mod model;
mod persistent;
pub(crate) mod question;
mod reader;
pub(crate) mod receipt;
mod render;
pub(crate) mod resolve;
pub(crate) mod resume;
pub(crate) mod room;
pub(crate) mod undelivered;
mod window;

use breaker::Breaker;
pub(crate) use directory::{Directory, Judged, Key, Recipe, Subscribed, Terms};
use facts::Image;
pub(crate) use facts::Old;
pub(crate) use group::{Group, Member};
use index::Judge;
pub(crate) use index::{Index, wants};
pub(crate) use render::Resolver;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use arc_swap::{ArcSwap, Cache};

use crate::{
    cursor::{Epoch, History},
    event::Stamped,
    id::{Millis, Offset, ShardId, ShardSet},
    limits::Limits,
    metrics::Counters,
    payload::Payload,
    ring,
    router::Channel,
    security::{Metered, SecurityContext},
    sync::{AtomicBool, Ordering},
};
use inbox::{Control, Forward, Inbox, Outlet, Publish};
use log::{Logs, Reload};
use reader::{Pushed, Rated, Reader};
use receipt::{Hold, Report};
use render::Bodies;
use resolve::{Answer, Asked, Made, Pending};
use resume::{Replay, Resume};
use undelivered::{AllLost, Lost, Names, Undelivered};
use window::Window;

/// What became of the deliveries of one step; added to the counters at once.
#[derive(Debug, Default)]
struct Tally {
    matched: u64,
    denied: u64,
    rate_limited: u64,
    rate_allowed: u64,
    failed: u64,
    pushed: u64,
    dropped: u64,
    coalesced: u64,
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
    /// The channel `"*"`.
    any: Arc<Channel>,
    logs: Logs,
    /// Whether what the carrier brings is for the logs alone.
    recalling: Arc<AtomicBool>,
    metered: Arc<Metered>,
    now: Millis,
    readers: Vec<Option<Reader>>,
    touched: Vec<u32>,
    bodies: Bodies,
    judge: Judge,
    asked: BTreeMap<u64, Asked>,
    counters: Arc<Counters>,
    publishes: Vec<Publish>,
    forwards: Vec<Forward>,
    limits: Arc<Limits>,
    stopping: bool,
    /// Answers of resolvers are waited for before the shard leaves.
    awaits_answers: bool,
    lost: AllLost,
    /// The furthest position at which a subscription resumed that had seen more than this node.
    ahead: Offset,
    undelivered: Names,
}

impl Tally {
    fn add(&mut self, pushed: &Pushed) {
        let withheld = u64::from(pushed.rated == Rated::Withheld);
        self.pushed -= u64::from(pushed.refused) + withheld;
        self.rate_limited += withheld;
        self.rate_allowed += u64::from(pushed.rated == Rated::Passed);
        self.dropped += pushed.dropped;
        self.coalesced += pushed.coalesced;
        self.discarded += pushed.discarded;
    }
}

/// An event that a subscription missed, and its body unless a resolver makes it.
type Missed = (Arc<Stamped>, Image, Option<Payload>);

/// What a shard is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) id: ShardId,
    pub(crate) outlet: Outlet,
    pub(crate) index: Arc<ArcSwap<Index>>,
    pub(crate) peers: Arc<[Inbox]>,
    pub(crate) any: Arc<Channel>,
    pub(crate) epoch: Epoch,
    pub(crate) recalling: Arc<AtomicBool>,
    pub(crate) metered: Arc<Metered>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) undelivered: Names,
    pub(crate) limits: Limits,
}

impl Shard {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { id, outlet, index, peers, any, epoch, recalling, metered, counters, undelivered, limits } =
            parts;
        let history = History { epoch, carried: false };
        Self {
            id,
            outlet,
            index: Cache::new(index),
            peers,
            outbox: VecDeque::new(),
            any,
            logs: Logs::new(history, &limits),
            recalling,
            metered,
            now: Millis(0),
            readers: Vec::new(),
            touched: Vec::new(),
            bodies: Bodies::new(&limits),
            judge: Judge::new(Breaker::is_on(&limits)),
            asked: BTreeMap::new(),
            counters,
            publishes: Vec::new(),
            forwards: Vec::new(),
            limits: Arc::new(limits),
            stopping: false,
            awaits_answers: false,
            lost: AllLost::default(),
            ahead: Offset(0),
            undelivered,
        }
    }

    /// Takes one batch through the road. Answers whether there was anything to do.
    ///
    /// The order is what `publish` promises: events are taken out *before* control messages and the snapshot, so a
    /// registration that returned before an event was published is seen by that event.
    ///
    /// A resumed subscription is in the index before its wish is in the inbox, and the snapshot is loaded after the
    /// inbox was read: what is stamped after its replay finds it in the index.
    pub(crate) fn step(&mut self, now: Millis) -> bool {
        self.now = now;
        let (mut publishes, mut forwards) =
            (std::mem::take(&mut self.publishes), std::mem::take(&mut self.forwards));
        self.outlet.take_forwards(&mut forwards, self.limits.batch_commands_max);
        if self.flush_outbox() {
            self.outlet.take_publishes(&mut publishes, self.limits.batch_commands_max);
        }
        let mut busy = self.control() || !publishes.is_empty() || !forwards.is_empty();
        let index = Arc::clone(self.index.load());
        for forward in forwards.drain(..) {
            match forward {
                Forward::Event(event, hold) => self.dispatch(&index, &event, hold.as_ref()),
                Forward::Replay(replay) => self.replay(&replay),
            }
        }
        for publish in publishes.drain(..) {
            self.accept(&index, publish);
        }
        busy |= self.notify();
        (self.publishes, self.forwards) = (publishes, forwards);
        busy
    }

    /// Step 4 of the road: this is the channel's home, the only place where its offsets are given.
    fn accept(&mut self, index: &Index, Publish { channel, event, carried, hold }: Publish) {
        let offset = carried.map(|carried| carried.offset);
        let Some(event) = self.logs.append(channel.id, event, offset, self.now) else { return };
        if carried.is_some_and(|carried| carried.recalled) {
            return;
        }
        self.counters.published.add_owned(1);
        // Asked now, not when it was published: who was replayed up to an earlier event is among them.
        let readers = ShardSet(channel.readers().0 | self.any.readers().0);
        for peer in readers.others(self.id) {
            self.forward(peer, Forward::Event(Arc::clone(&event), hold.clone()));
        }
        self.dispatch(index, &event, hold.as_ref());
    }

    /// Steps 5 to 8: match, admit, render once, push to each.
    fn dispatch(&mut self, index: &Index, event: &Arc<Stamped>, hold: Option<&Hold>) {
        // When the time to close is over, what an event would have brought is lost.
        let late = self.stopping && self.is_late();
        let (mut tally, mut admitted) = (Tally::default(), 0);
        self.bodies.next_event();
        let mut judge = std::mem::take(&mut self.judge);
        let mut window = Window::new();
        let matched = index.matching(event, &mut judge, |group, image| {
            admitted += group.members.len() as u64;
            if late {
                self.lost.add(group, event, self.ahead);
            } else if window.put((group, image)) {
                self.deliver_to_all(window.take(), event, hold, &mut tally);
            }
        });
        self.deliver_to_all(window.take(), event, hold, &mut tally);
        tally.matched = matched;
        self.counters.policy_errors.add_owned(std::mem::take(&mut judge.errors));
        for group in judge.erring.iter_mut().flat_map(|groups| groups.drain(..)) {
            self.strike(&group);
        }
        self.judge = judge;
        tally.denied = tally.matched - admitted;
        if late {
            tally.failed = admitted;
            self.name(event, admitted);
        }
        self.count(&tally, hold);
    }

    /// Counts an error of a policy or a resolver for each member of `group`.
    fn strike(&mut self, group: &Group) {
        let mut ended = 0;
        for member in group.members.chunks().flatten() {
            let reader = Reader::of(&mut self.readers, member);
            ended += u64::from(reader.is_some_and(|reader| reader.strike(member, self.now)));
        }
        self.counters.broken.add_owned(ended);
    }

    /// Keeps the name of an event of which `deliveries` are lost because the engine closes.
    fn name(&self, event: &Arc<Stamped>, deliveries: u64) {
        if deliveries > 0 {
            self.undelivered.push(Undelivered { event: Arc::clone(event), deliveries });
        }
    }

    /// Tells the members of each group of what was given up since the last time.
    fn tell_lost(&mut self) {
        for Lost { group, frames, early, last } in self.lost.take() {
            let notice = Payload::lost(last.channel, last.offset);
            let mut shares = notice.shares(group.members.len());
            for (member, share) in group.members.chunks().flatten().zip(&mut shares) {
                let Some(reader) = Reader::of(&mut self.readers, member) else { continue };
                reader.tell_lost(member, share, frames, &early);
                reader.touch(member.slot, &mut self.touched);
            }
        }
    }

    /// Steps 7 and 8 for groups that admit an event. Those of one member have it fetched for all of them at once.
    fn deliver_to_all<'a>(
        &mut self,
        groups: impl Iterator<Item = (&'a Arc<Group>, Image)> + Clone,
        event: &Arc<Stamped>,
        hold: Option<&Hold>,
        tally: &mut Tally,
    ) {
        let slots =
            groups.clone().filter_map(|(group, _)| group.members.only()).map(|member| member.slot as usize);
        for place in slots.clone().filter_map(|slot| self.readers.get(slot)) {
            ring::prefetch(place, 1);
        }
        for reader in slots.filter_map(|slot| self.readers.get(slot)?.as_ref()) {
            reader.prefetch();
        }
        for (group, image) in groups {
            self.deliver_to(group, event, image, hold, tally);
        }
    }

    /// Steps 7 and 8 for one group that admits an event.
    fn deliver_to(
        &mut self,
        group: &Arc<Group>,
        event: &Arc<Stamped>,
        image: Image,
        hold: Option<&Hold>,
        tally: &mut Tally,
    ) {
        if group.render.resolver.is_some() {
            self.ask(group, event, image, hold, tally);
        } else {
            let body = self.bodies.body(&group.render, event, image, &self.counters);
            self.send(&body, group, event, tally);
        }
    }

    /// Cuts the log for a subscription that resumes, and sends it what it missed.
    fn resume(&mut self, resume: Resume) {
        let (channel, reached, max) = (resume.channel, resume.reached, self.limits.replay_events_max);
        // What the log lacks now would be in nobody's hands.
        let is_whole = !self.recalling.load(Ordering::Acquire);
        let after = resume.after.and_then(|cursor| if is_whole { Ok(cursor) } else { Err(Reload::Future) });
        let events = after.and_then(|cursor| self.logs.after(channel, cursor, reached, max, self.now));
        let cut = self.logs.history().cursor(channel, self.logs.last(channel));
        let (shard, replay) = (resume.shard, Box::new(resume.with(events, cut)));
        if shard == self.id {
            self.replay(&replay);
        } else {
            self.forward(shard, Forward::Replay(replay));
        }
    }

    /// Steps 6 to 8 for what one subscription missed: all of it, or none and its reader is told.
    fn replay(&mut self, replay: &Replay) {
        // What was given up so far is before the cut, and not this subscription's loss.
        self.tell_lost();
        let group = &replay.resume.to;
        let events = replay.events.as_ref().map_err(|&reload| reload);
        // The home may have cut a log that this shard has left behind since: what lies between is in nobody's hands.
        let behind = self.logs.left_behind(replay.cut);
        let events = events.and_then(|events| behind.map_or(Ok(events), Err));
        // Judged anew since it was asked for: by what holds now it may be less.
        let holds = self.index.load().judges_as(&replay.resume);
        let events = events.and_then(|events| if holds { Ok(events) } else { Err(Reload::Trimmed) });
        let missed = events.and_then(|events| self.missed(group, events));
        let Some(member) = group.members.get(0) else { return };
        let Some(reader) = Reader::of(&mut self.readers, member) else { return };
        let is_gone = behind == Some(Reload::Epoch);
        let last = if is_gone { Offset(0) } else { replay.last(missed.is_ok()) };
        reader.begin(member, last);
        if last > replay.cut.offset {
            self.ahead = self.ahead.max(last);
        }
        replay.settle(missed.as_ref().map(drop).map_err(|&reload| reload));
        let Counters { resumed, reloaded, .. } = &*self.counters;
        if missed.is_ok() { resumed } else { reloaded }.add_owned(1);
        reader.touch(member.slot, &mut self.touched);
        let Ok((missed, mut tally)) = missed else { return };
        for (event, image, body) in missed {
            match body {
                Some(body) => self.send(&body, group, &event, &mut tally),
                None => self.ask(group, &event, image, None, &mut tally),
            }
        }
        self.count(&tally, None);
    }

    /// What the one member of `group` may see of `events`, rendered unless a resolver does that, with room made for
    /// it.
    fn missed(&mut self, group: &Group, events: &[Arc<Stamped>]) -> Result<(Vec<Missed>, Tally), Reload> {
        let (mut missed, mut tally, mut bytes) = (Vec::new(), Tally::default(), 0);
        let Group { render, predicate, .. } = group;
        for event in events.iter().filter(|event| group.wants(event.event.event_type())) {
            tally.matched += 1;
            let Some(image) = Image::admitted(predicate, &event.event) else {
                tally.denied += 1;
                continue;
            };
            self.bodies.next_event();
            let body =
                render.resolver.is_none().then(|| self.bodies.body(render, event, image, &self.counters));
            bytes += body.as_ref().map_or(0, |body| body.body().len());
            missed.push((Arc::clone(event), image, body));
            if bytes > self.limits.ring_bytes_max {
                return Err(Reload::Trimmed);
            }
        }
        let asked =
            self.asked.get(&render.serial).filter(|_| render.resolver.is_some()).map_or(0, Asked::len);
        let reader = group.members.get(0).and_then(|member| Reader::of(&mut self.readers, member));
        let has_room = asked + missed.len() <= self.limits.resolver_pending_max || render.resolver.is_none();
        if has_room && reader.is_none_or(|reader| reader.reserve(missed.len(), reader::signed(bytes))) {
            Ok((missed, tally))
        } else {
            Err(Reload::Trimmed)
        }
    }

    /// Step 8: one frame a member. Answers how many members have gone.
    fn push(&mut self, body: &Payload, group: &Group, event: &Stamped, tally: &mut Tally) -> u64 {
        let (mut gone, mut shares) = (0, body.shares(group.members.len()));
        let bytes = reader::signed(body.body().len());
        for chunk in group.members.chunks() {
            for (at, (member, share)) in chunk.iter().zip(&mut shares).enumerate() {
                self.prefetch(chunk, at);
                let Some(reader) = Reader::of(&mut self.readers, member) else {
                    gone += 1;
                    continue;
                };
                match reader.push_at_once(member, share, bytes) {
                    Ok(()) => reader.touch(member.slot, &mut self.touched),
                    Err(share) => {
                        gone += u64::from(!self.push_by_the_rules(member, share, group, event, tally));
                    }
                }
            }
        }
        gone
    }

    /// Step 8 where something stands in the way. Answers whether the member is still there. Apart from the loop of
    /// [`Shard::push`], which then stays in registers.
    #[cold]
    #[inline(never)]
    fn push_by_the_rules(
        &mut self,
        member: &Member,
        share: Payload,
        group: &Group,
        event: &Stamped,
        tally: &mut Tally,
    ) -> bool {
        let Some(reader) = Reader::of(&mut self.readers, member) else { return false };
        let pushed = reader.push(member, share, &group.overflow, event, self.now);
        if !pushed.gone {
            tally.add(&pushed);
            reader.touch(member.slot, &mut self.touched);
        }
        !pushed.gone
    }

    /// Has the memory of the readers to come fetched meanwhile: first each reader, then its ring's next slot.
    #[inline]
    fn prefetch(&self, members: &[Member], at: usize) {
        let place = |ahead: usize| self.readers.get(members.get(at + ahead)?.slot as usize);
        if let Some(place) = place(12) {
            ring::prefetch(place, 1);
        }
        if let Some(Some(reader)) = place(6) {
            reader.prefetch();
        }
    }

    /// Step 8 for a result.
    fn send(&mut self, body: &Payload, group: &Group, event: &Stamped, tally: &mut Tally) {
        tally.pushed += group.members.len() as u64;
        tally.discarded += self.push(body, group, event, tally);
    }

    /// Step 9: one wake for each reader that got frames in this batch.
    fn notify(&mut self) -> bool {
        let busy = !self.touched.is_empty();
        let mut wakes = 0;
        for slot in self.touched.drain(..) {
            if let Some(reader) = &mut self.readers[slot as usize] {
                reader.touched = false;
                wakes += u64::from(reader.link.doorbell.ring());
            }
        }
        self.counters.wakes.add_owned(wakes);
        busy
    }

    fn count(&self, tally: &Tally, hold: Option<&Hold>) {
        let Counters { matched, denied, rate_limited, failed, pushed, dropped, coalesced, discarded, .. } =
            &*self.counters;
        matched.add_owned(tally.matched);
        denied.add_owned(tally.denied);
        rate_limited.add_owned(tally.rate_limited);
        self.counters.rate_allowed.add_owned(tally.rate_allowed);
        failed.add_owned(tally.failed);
        pushed.add_owned(tally.pushed);
        dropped.add_owned(tally.dropped);
        coalesced.add_owned(tally.coalesced);
        discarded.add_owned(tally.discarded);
        if let Some(hold) = hold {
            let Tally { matched, denied, rate_limited, failed, pushed, dropped, .. } = *tally;
            hold.add(&Report { matched, delivered: pushed, denied, rate_limited, dropped, failed });
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
                Control::Open { slot, serial, ring, link } => {
                    let slot = slot as usize;
                    if self.readers.len() <= slot {
                        self.readers.resize_with(slot + 1, || None);
                    }
                    self.readers[slot] = Some(Reader::new(serial, ring, link, &self.limits));
                }
                Control::Meter { member, context } => self.meter(&member, &context),
                Control::Resume(resume) => self.resume(resume),
                Control::Follow(follow) => self.follow(follow),
                Control::Refill { slot, serial } => self.refill(slot, serial),
                Control::Close { slot, serial } => self.close(slot, serial),
                Control::Ask(question) => self.reply(question),
                Control::Answer(answer) => self.answer(answer),
                Control::Stop { awaits_answers } => {
                    (self.stopping, self.awaits_answers) = (true, awaits_answers);
                }
            }
        }
        any
    }

    /// A subscription whose deliveries have a rate begins, or has another context.
    fn meter(&mut self, member: &Member, context: &SecurityContext) {
        if let Some(reader) = Reader::of(&mut self.readers, member) {
            reader.meter(&self.metered, member, context);
        }
    }

    /// The reader is gone: what it did not read is discarded, and counted so.
    fn close(&mut self, slot: u32, serial: u64) {
        let reader = self.readers[slot as usize].take_if(|reader| reader.serial == serial);
        if let Some(reader) = reader {
            self.counters.discarded.add_owned(reader.unread());
        }
    }

    /// The reader has made room for what was kept aside.
    fn refill(&mut self, slot: u32, serial: u64) {
        let reader = self.readers.get_mut(slot as usize).and_then(Option::as_mut);
        let Some(reader) = reader.filter(|reader| reader.serial == serial) else { return };
        let (mut pushed, mut tally) = (Pushed::default(), Tally::default());
        reader.refill(&mut pushed);
        reader.touch(slot, &mut self.touched);
        tally.add(&pushed);
        self.count(&tally, None);
    }

    /// Detour of step 7: the resolver's result for (event, render) is asked for once.
    fn ask(
        &mut self,
        group: &Arc<Group>,
        event: &Arc<Stamped>,
        image: Image,
        hold: Option<&Hold>,
        tally: &mut Tally,
    ) {
        let asked = self.asked.entry(group.render.serial).or_default();
        if asked.join(group, event, image) {
            return;
        }
        let max = self.limits.resolver_pending_max;
        let asked_for = match image {
            // Nothing to ask, but it waits for the answers before it.
            Image::Old => asked.tombstone(group, event, hold, max).map(Some),
            Image::New => asked.ask(group, event, hold, self.outlet.inbox(), max).map(|()| None),
        };
        match asked_for {
            Ok(Some(ready)) => self.deliver_all(group.render.serial, ready),
            Ok(None) => self.counters.resolver_calls.add_owned(1),
            Err(_overloaded) => {
                if asked.is_empty() {
                    self.asked.remove(&group.render.serial);
                }
                if self.stopping {
                    self.name(event, group.members.len() as u64);
                }
                self.lose(event, group, tally);
            }
        }
    }

    /// The detour's return: answers may come in any order, deliveries go out in the order of the events.
    fn answer(&mut self, answer: Answer) {
        let serial = answer.render;
        let Some(asked) = self.asked.get_mut(&serial) else { return };
        let ready = asked.settle(answer);
        self.deliver_all(serial, ready);
    }

    fn deliver_all(&mut self, render: u64, ready: Vec<Pending>) {
        if self.asked.get(&render).is_some_and(Asked::is_empty) {
            self.asked.remove(&render);
        }
        for pending in ready {
            self.deliver(pending);
        }
    }

    fn deliver(&mut self, Pending { event, groups, result, hold, .. }: Pending) {
        let Some(group) = groups.first() else { return };
        let mut tally = Tally::default();
        let body = result.map(|made| match made {
            Made::Answer(result) => self.bodies.resolved(&group.render, &event, result, &self.counters),
            Made::Tombstone => (self.bodies.tombstone(&group.render, &event), true),
        });
        for group in &groups {
            match &body {
                Some((body, _)) => self.send(body, group, &event, &mut tally),
                None => self.lose(&event, group, &mut tally),
            }
            if let Some((_, false)) = body
                && Breaker::is_on(&self.limits)
            {
                self.strike(group);
            }
        }
        self.count(&tally, hold.as_ref());
    }

    /// A loss before the ring: a frame of its own tells each member, at once, though earlier events may still wait
    /// for their results.
    fn lose(&mut self, event: &Stamped, group: &Group, tally: &mut Tally) {
        tally.failed += group.members.len() as u64;
        self.push(&Payload::lost(event.channel, event.offset), group, event, tally);
    }

    pub(crate) fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Whether a stop was asked for and everything accepted has left.
    pub(crate) fn drained(&self) -> bool {
        self.stopping && self.is_idle()
    }

    /// Whether nothing can come any more that is waited for, once all shards have drained.
    pub(crate) fn may_leave(&self) -> bool {
        !self.awaits_answers || self.asked.is_empty() || self.is_late()
    }

    /// Whether the time to close is over.
    fn is_late(&self) -> bool {
        self.outlet.inbox().berth().is_late()
    }

    /// Whether a stop was asked for: then only the pinned thread knows what is next.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
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
            if pending.result.is_none() {
                let members = |group: &Arc<Group>| group.members.len() as u64;
                self.name(&pending.event, pending.groups.iter().map(members).sum());
            }
            self.deliver(pending);
        }
        let mut tally = Tally::default();
        self.readers.iter_mut().flatten().for_each(|reader| tally.add(&reader.give_up_kept()));
        self.count(&tally, None);
        // Last: it was accepted after all that has been pushed, kept or asked for.
        self.tell_lost();
        self.notify();
        self.readers.iter().flatten().for_each(|reader| reader.link.end());
    }
}
