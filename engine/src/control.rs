//! The control plane: what engine handles and subscribers share, and the verbs that are not about one event's way.
//!
//! Registrations, openings and closings take their shard's lock; an event takes none.

mod catalogue;
mod decisions;
mod explain;
mod follow;
mod live;
mod quotas;

pub(crate) use catalogue::Catalogue;
pub use explain::Verdict;
use quotas::Quotas;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;

use crate::{
    cursor::{Cursor, Epoch},
    error::LimitExceeded,
    event::Event,
    id::{ANY, Offset, ShardId},
    limits::Limits,
    link::Link,
    metrics::{Counters, Decisions, Metrics, Module, Ruling, ShardMetrics, SharedCounters},
    notifier::{self, Wake},
    payload::Payload,
    plan::{Admission, Schema},
    ring::{self, Consumer},
    router::{Channel, Router},
    security::{
        Asked, DeliveryRates, Metered, Pace, Paced, RuleError, Rulebook, Rules, SecurityContext, TooOften,
        VariableScope,
        access::{Access, AccessError},
    },
    shard::{
        Directory, Index, Member, Parts, Shard, Subscribed, Terms,
        drive::Sleeper,
        inbox::{self, Control, Inbox, Outlet, Publish},
        log::Reload,
        receipt::Hold,
        resume::{Outcome, Resume},
        room::Room,
        undelivered::{Names, Undelivered},
    },
    sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

/// A lock of the control plane: taken by registrations and by close, never on the way of an event.
#[allow(clippy::disallowed_types, reason = "the control plane waits for itself only")]
pub(crate) type Locked<T> = std::sync::Mutex<T>;

/// Why there is no subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// `subscribers_max`.
    Limit(LimitExceeded),
    /// The engine is closed.
    Closed,
}

/// Why an event was not accepted; nothing of it is delivered.
#[derive(Debug)]
pub enum PublishError {
    /// The home shard's inbox has no room; the event comes back.
    Full(Box<Event>),
    /// `channels_max`.
    Limit(LimitExceeded),
    /// The channel `"*"` names all channels: subscribe to it, publish to one.
    Wildcard,
    /// The engine takes its events from a bus: publish there.
    Follows,
    /// The engine is closed.
    Closed,
}

/// Why a batch was not accepted; nothing of it is delivered.
#[derive(Debug)]
pub enum PublishManyError {
    /// A shard's inbox has no room; the events come back, those of one channel in their order.
    Full(Vec<Event>),
    /// `publish_many_max`, `channels_max`, or more events for one shard than its inbox can ever hold.
    Limit(LimitExceeded),
    /// See [`PublishError::Wildcard`].
    Wildcard,
    /// See [`PublishError::Follows`].
    Follows,
    /// The engine is closed.
    Closed,
}

impl From<PublishError> for PublishManyError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Full(event) => Self::Full(vec![*event]),
            PublishError::Limit(limit) => Self::Limit(limit),
            PublishError::Wildcard => Self::Wildcard,
            PublishError::Follows => Self::Follows,
            PublishError::Closed => Self::Closed,
        }
    }
}

/// A reader's place: its shard, its slot there, and its serial, which is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) shard: ShardId,
    pub(crate) slot: u32,
    pub(crate) serial: u64,
}

/// A reader that was just opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) seat: Seat,
    pub(crate) ring: Consumer<Payload>,
    pub(crate) link: crate::sync::Arc<Link>,
}

/// Why there is no control plane: a policy, or a rule of who may read which field.
#[derive(Debug)]
pub(crate) enum Unruly {
    Policy(RuleError),
    Access(AccessError),
}

/// Shards before they run, each with the sleeper of the thread to come.
pub(crate) type Assembled = Vec<(Shard, Arc<Sleeper>)>;

/// What time it is, in seconds since 1970.
#[derive(Clone)]
pub(crate) struct Clock(pub(crate) Arc<dyn Fn() -> u64 + Send + Sync>);

impl Default for Clock {
    fn default() -> Self {
        let since_1970 = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(Arc::new(move || since_1970().map_or(0, |time| time.as_secs())))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&(self.0)()).finish()
    }
}

/// The settings of a control plane.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) schema: Option<Schema>,
    pub(crate) admission: Admission,
    pub(crate) rules: Rules,
    pub(crate) access: Access,
    pub(crate) variable_scope: VariableScope,
    pub(crate) pace: Pace,
    pub(crate) delivery_rates: DeliveryRates,
    pub(crate) clock: Clock,
    /// The incarnation of the logs; `None`: a random one.
    pub(crate) epoch: Option<Epoch>,
}

/// What all handles and subscribers share.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    limits: Limits,
    router: Router,
    /// What documents are held against, and what it is made of beside the schema.
    catalogue: ArcSwap<Catalogue>,
    access: Access,
    variable_scope: VariableScope,
    admission: Admission,
    shards: Vec<ShardHandle>,
    rulebook: ArcSwap<Rulebook>,
    paced: Paced,
    quotas: Quotas,
    metered: Arc<Metered>,
    /// What was asked for first with each selection, by its address, which the value keeps alive.
    terms: papaya::HashMap<usize, Arc<Terms>>,
    /// The context of nobody.
    nobody: Arc<SecurityContext>,
    started: Instant,
    clock: Clock,
    counters: SharedCounters,
    decisions: Decisions,
    next_reader: AtomicU64,
    closed: AtomicBool,
    /// Events come from a carrier, and from nowhere else.
    follows: AtomicBool,
    /// What comes from it was published before; nobody can resume meanwhile.
    recalling: Arc<AtomicBool>,
    /// The last offset that came from it.
    reached: AtomicU64,
    /// Publishes and registrations that are under way; closing waits for them.
    under_way: AtomicUsize,
    undelivered: Names,
}

#[derive(Debug)]
struct ShardHandle {
    inbox: Inbox,
    counters: Arc<Counters>,
    /// What its readers count, and who registers with it.
    of_readers: SharedCounters,
    index: Arc<ArcSwap<Index>>,
    directory: Locked<Directory>,
}

impl ShardHandle {
    fn new(inbox: &Inbox) -> Self {
        let index = Arc::default();
        let directory = Locked::new(Directory::new(Arc::clone(&index)));
        let (counters, of_readers) = Default::default();
        Self { inbox: inbox.clone(), counters, of_readers, index, directory }
    }

    fn metrics(&self) -> ShardMetrics {
        ShardMetrics {
            waiting: self.inbox.waiting() as u64,
            published: self.counters.published.get(),
            delivered: self.of_readers.delivered.get(),
            subscriptions: self.of_readers.subscriptions.get(),
        }
    }
}

/// While this lives, closing waits.
pub(crate) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ControlPlane {
    /// A plane for `count` shards, and what their threads need: who has the shards steps them.
    pub(crate) fn new(settings: Settings, count: u16) -> Result<(Self, Assembled), Unruly> {
        let Settings { limits, schema, admission, rules, access, .. } = settings;
        let Settings { variable_scope, pace, delivery_rates, clock, epoch, .. } = settings;
        let catalogue = Catalogue::new(schema, access.clone(), admission.clone(), &limits);
        let catalogue = catalogue.map_err(Unruly::Access)?;
        let epoch = epoch.unwrap_or_else(Epoch::random);
        let sleepers: Vec<_> = (0..count).map(|_| Arc::new(Sleeper::default())).collect();
        let inbox = |sleeper: &Arc<Sleeper>| inbox::inbox(limits.inbox_commands_max, sleeper.waker());
        let (inboxes, outlets): (Vec<_>, Vec<_>) = sleepers.iter().map(inbox).unzip();
        let plane = Self {
            router: Router::new(count, limits.channels_max),
            catalogue: ArcSwap::from_pointee(catalogue),
            access,
            variable_scope,
            admission,
            shards: inboxes.iter().map(ShardHandle::new).collect(),
            rulebook: ArcSwap::from_pointee(Rulebook::new(rules, &limits).map_err(Unruly::Policy)?),
            paced: Paced::new(pace, &limits),
            quotas: Quotas::new(&limits),
            metered: Arc::new(Metered::new(delivery_rates, &limits)),
            terms: papaya::HashMap::new(),
            nobody: Arc::default(),
            started: Instant::now(),
            clock,
            counters: SharedCounters::default(),
            decisions: Decisions::default(),
            next_reader: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            follows: AtomicBool::new(false),
            recalling: Arc::new(AtomicBool::new(false)),
            reached: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            undelivered: Names::default(),
            limits,
        };
        let peers: Arc<[Inbox]> = inboxes.into();
        let shard = |(number, outlet): (usize, Outlet)| {
            let ShardHandle { index, counters, .. } = &plane.shards[number];
            Shard::new(Parts {
                id: ShardId(number as u16),
                outlet,
                index: Arc::clone(index),
                peers: Arc::clone(&peers),
                any: Arc::clone(plane.router.any()),
                epoch,
                recalling: Arc::clone(&plane.recalling),
                metered: Arc::clone(&plane.metered),
                counters: Arc::clone(counters),
                undelivered: Arc::clone(&plane.undelivered),
                limits: plane.limits.clone(),
            })
        };
        let shards = outlets.into_iter().enumerate().map(shard).zip(sleepers).collect();
        Ok((plane, shards))
    }

    /// Enters unless the engine is closed: either this sees `closed`, or closing sees this.
    pub(crate) fn enter(&self) -> Option<UnderWay<'_>> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let under_way = UnderWay(&self.under_way);
        (!self.closed.load(Ordering::SeqCst)).then_some(under_way)
    }

    /// Stops taking anything in. When it returns, what was taken in is in the shards' inboxes, and behind it the order
    /// to stop; `awaits_answers`: when resolvers have answered, too, or the time is over. Safe to repeat.
    pub(crate) fn close(&self, awaits_answers: bool) {
        let first = !self.closed.swap(true, Ordering::SeqCst);
        // Whoever waits for room sees it now: else closing would wait as long as that publisher does.
        self.shards.iter().for_each(|shard| shard.inbox.room().give(0));
        // Whoever entered before `closed` was set is served by shards that still run, so this ends.
        while self.under_way.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        if first {
            for shard in &self.shards {
                shard.inbox.berth().stop();
                shard.inbox.control(Control::Stop { awaits_answers });
            }
        }
    }

    /// The time to close is over: shards lose what they have not delivered, and leave.
    pub(crate) fn be_late(&self) {
        for shard in &self.shards {
            shard.inbox.berth().be_late();
            shard.inbox.wake();
        }
    }

    /// What shards that have left did not deliver, by channel and offset; each event once.
    pub(crate) fn take_undelivered(&self) -> Vec<Undelivered> {
        let place = |one: &Undelivered| (one.event.channel.0, one.event.offset.0);
        let mut all: Vec<_> = std::iter::from_fn(|| self.undelivered.pop()).collect();
        all.sort_unstable_by_key(place);
        all.dedup_by(|next, kept| {
            let same = place(next) == place(kept);
            kept.deliveries += if same { next.deliveries } else { 0 };
            same
        });
        all
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// All inboxes, by shard.
    pub(crate) fn inboxes(&self) -> Arc<[Inbox]> {
        self.shards.iter().map(|shard| shard.inbox.clone()).collect()
    }

    /// Opens a reader.
    pub(crate) fn open(&self, wake: Wake, frames: Option<usize>) -> Result<Opened, OpenError> {
        let _under_way = self.enter().ok_or(OpenError::Closed)?;
        // Counted first: of two that come at once for the last place, one is refused.
        let open = self.counters.subscribers.add(1) as usize;
        if let Err(limit) = LimitExceeded::check("subscribers_max", open, self.limits.subscribers_max) {
            self.counters.subscribers.sub(1);
            return Err(OpenError::Limit(limit));
        }
        let serial = self.next_reader.fetch_add(1, Ordering::Relaxed);
        let shard = ShardId((serial % self.shards.len() as u64) as u16);
        let frames = frames.unwrap_or(usize::MAX).min(self.limits.ring_frames_max);
        let (producer, consumer) = ring::ring(frames);
        let link = Link::new(wake, self.limits.lanes_max());
        let mut directory = self.directory(shard);
        let slot = directory.take_slot(serial, &link);
        let opened = Control::Open { slot, serial, ring: producer, link: crate::sync::Arc::clone(&link) };
        // Nothing is meant for this reader yet: the shard takes it in with the first event.
        self.inbox(shard).control_later(opened);
        Ok(Opened { seat: Seat { shard, slot, serial }, ring: consumer, link })
    }

    /// Adds a subscription, judged by those rules and that schema, to the index of its reader's shard. What does not hold
    /// any more by now is never seen at work: until it was judged again it gets nothing.
    pub(crate) fn register(
        &self,
        Seat { shard, serial, .. }: Seat,
        mut subscribed: Subscribed,
        channels: &[Arc<Channel>],
        (book, catalogue): (&Arc<Rulebook>, &Arc<Catalogue>),
    ) {
        let number = subscribed.member.subscription;
        self.meter(shard, subscribed.member, &subscribed.recipe.context);
        let mut directory = self.directory(shard);
        // Under the lock: a reload from now on comes to this subscription when it has the lock.
        let holds = self.judges_by(book, catalogue);
        if !holds {
            subscribed.channels.iter_mut().for_each(|(_, predicate)| *predicate = book.nothing().clone());
        }
        directory.add(subscribed);
        for channel in channels {
            channel.set_reader(shard, true);
        }
        drop(directory);
        self.of_readers(shard).subscriptions.add(1);
        if !holds {
            self.renew(shard, |key| key == (serial, number));
        }
    }

    /// Has the home of a registered subscription's channel send it what came after a cursor. Where the shards are at
    /// rest, it has done so when this returns.
    pub(crate) fn resume(
        &self,
        shard: ShardId,
        member: Member,
        channel: &Channel,
        after: Result<Cursor, Reload>,
        outcome: &Outcome,
    ) {
        let Some((number, to)) = self.directory(shard).alone(member, channel.id) else { return };
        let home = self.inbox(channel.home);
        let outcome_there = Arc::clone(outcome);
        let reached = Offset(self.reached.load(Ordering::Relaxed));
        let channel = channel.id;
        let resume = Resume { channel, after, reached, number, to, shard, outcome: outcome_there };
        home.control_later(Control::Resume(resume));
        home.run(|| outcome.get().is_some());
    }

    /// Tells a reader's shard that the ring has room again, or that something kept is of no use any more.
    pub(crate) fn refill(&self, Seat { shard, slot, serial }: Seat) {
        self.inbox(shard).control(Control::Refill { slot, serial });
    }

    /// The same terms, shared with other subscriptions where they are equal.
    pub(crate) fn share_terms(&self, terms: Terms) -> Arc<Terms> {
        let known = self.terms.pin();
        if known.len() >= self.limits.plans_max {
            known.clear();
        }
        let terms = Arc::new(terms);
        let first = known.get_or_insert(Arc::as_ptr(&terms.projection).addr(), Arc::clone(&terms));
        Arc::clone(if first.is_same(&terms) { first } else { &terms })
    }

    /// The same context, shared with the reader's last one or with nobody's where it is equal.
    pub(crate) fn share_context(
        &self,
        context: SecurityContext,
        last: Option<&Arc<SecurityContext>>,
    ) -> Arc<SecurityContext> {
        let equal = |known: &&Arc<SecurityContext>| ***known == context;
        match last.into_iter().chain([&self.nobody]).find(equal) {
            Some(known) => Arc::clone(known),
            None => Arc::new(context),
        }
    }

    /// Whether a reader with this context may register one more subscription now.
    pub(crate) fn pace(&self, context: &SecurityContext, seat: Seat) -> Result<(), TooOften> {
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let taken = self.paced.take(context, seat.serial, now);
        if self.paced.is_on() {
            self.decided(
                Module::Rates,
                match taken {
                    Ok(()) => Ruling::Allowed,
                    Err(TooOften::Empty(_)) => Ruling::Denied,
                    Err(TooOften::Limit(_)) => Ruling::Error,
                },
            );
        }
        taken
    }

    /// Whether the variables and arguments of a subscription name nobody but its reader.
    pub(crate) fn check_variables(&self, asked: &Asked, context: &SecurityContext) -> Result<(), String> {
        self.variable_scope.check_asked(asked, context)
    }

    /// Whether deliveries have a rate.
    pub(crate) fn is_metered(&self) -> bool {
        self.metered.is_on()
    }

    /// Tells the shard whose deliveries those of `member` are, before the member is in its index.
    fn meter(&self, shard: ShardId, member: Member, context: &Arc<SecurityContext>) {
        if member.limited {
            self.inbox(shard).control(Control::Meter { member, context: Arc::clone(context) });
        }
    }

    /// Counts a registration, or its refusal.
    pub(crate) fn count_registration<T, E>(&self, result: &Result<T, E>) {
        let counter = if result.is_ok() { &self.counters.subscribed } else { &self.counters.refused };
        counter.add(1);
    }

    /// The ids of the subscriptions on a channel.
    pub(crate) fn ids(&self, channel: &str) -> Vec<String> {
        let Some(channel) = self.router.find(channel) else { return Vec::new() };
        let ids =
            |shard| self.directory(shard).ids(channel.id).map(|id| String::from(&**id)).collect::<Vec<_>>();
        self.shard_ids().flat_map(ids).collect()
    }

    pub(crate) fn inbox(&self, shard: ShardId) -> &Inbox {
        &self.shards[usize::from(shard.0)].inbox
    }

    fn of_readers(&self, shard: ShardId) -> &Counters {
        &self.shards[usize::from(shard.0)].of_readers
    }

    fn directory(&self, shard: ShardId) -> MutexGuard<'_, Directory> {
        self.shards[usize::from(shard.0)].directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an event to its channel's home shard, once there is room; waits up to `wait` for that. Answers the home's
    /// inbox, which is to be run or woken.
    pub(crate) fn offer(
        &self,
        event: Event,
        hold: Option<Hold>,
        wait: Duration,
    ) -> Result<&Inbox, PublishError> {
        let _under_way = self.enter().ok_or(PublishError::Closed)?;
        if self.follows.load(Ordering::Relaxed) {
            return Err(PublishError::Follows);
        }
        let channel = self.channel_of(&event)?;
        let home = self.inbox(channel.home);
        if !home.room().take(1) && !self.wait_for(&[(home, 1)], wait) {
            if self.is_closed() {
                return Err(PublishError::Closed);
            }
            self.counters.queue_full.add(1);
            return Err(PublishError::Full(Box::new(event)));
        }
        if home.send(Publish { channel, event, carried: None, hold }) {
            Ok(home)
        } else {
            Err(PublishError::Closed)
        }
    }

    /// The same for a batch: all of it, or nothing.
    pub(crate) fn offer_many(
        &self,
        batch: Vec<(Event, Hold)>,
        wait: Duration,
    ) -> Result<Vec<&Inbox>, PublishManyError> {
        let Some(_under_way) = self.enter() else { return Err(PublishManyError::Closed) };
        LimitExceeded::check("publish_many_max", batch.len(), self.limits.publish_many_max)
            .map_err(PublishManyError::Limit)?;
        if self.follows.load(Ordering::Relaxed) {
            return Err(PublishManyError::Follows);
        }
        let mut publishes = Vec::with_capacity(batch.len());
        for (event, hold) in batch {
            let channel = self.channel_of(&event)?;
            publishes.push(Publish { channel, event, carried: None, hold: Some(hold) });
        }
        match self.hand_over(publishes, wait)? {
            (homes, true) => Ok(homes),
            (homes, false) => {
                for home in homes {
                    home.wake();
                }
                Err(PublishManyError::Closed)
            }
        }
    }

    /// Hands events to their channels' homes: all of them, or none; answers who has to be woken, and whether all took
    /// their part.
    fn hand_over(
        &self,
        publishes: Vec<Publish>,
        wait: Duration,
    ) -> Result<(Vec<&Inbox>, bool), PublishManyError> {
        let mut homes: BTreeMap<u16, Vec<Publish>> = BTreeMap::new();
        for publish in publishes {
            homes.entry(publish.channel.home.0).or_default().push(publish);
        }
        let needed: Vec<_> =
            homes.iter().map(|(&home, events)| (self.inbox(ShardId(home)), events.len())).collect();
        for &(_, count) in &needed {
            LimitExceeded::check("inbox_commands_max", count, self.limits.inbox_commands_max)
                .map_err(PublishManyError::Limit)?;
        }
        if !take_all(&needed) && !self.wait_for(&needed, wait) {
            if self.is_closed() {
                return Err(PublishManyError::Closed);
            }
            self.counters.queue_full.add(1);
            let events = homes.into_values().flatten().map(|publish| publish.event).collect();
            return Err(PublishManyError::Full(events));
        }
        let inboxes: Vec<_> = needed.iter().map(|&(inbox, _)| inbox).collect();
        let at_once = self.limits.batch_commands_max;
        let sent = homes.into_values().zip(&inboxes).map(|(events, home)| home.send_many(events, at_once));
        // A shard that is lost takes nothing more; those that are not have got their part.
        let all_sent = sent.fold(true, |all, sent| all & sent);
        Ok((inboxes, all_sent))
    }

    /// Takes all the room that is needed; waits up to `wait` for it, or until the engine closes.
    fn wait_for(&self, needed: &[(&Inbox, usize)], wait: Duration) -> bool {
        if wait.is_zero() {
            return false;
        }
        let waiting: Vec<_> = needed.iter().map(|_| Listed::new()).collect();
        let start = Instant::now();
        loop {
            for ((inbox, _), listed) in needed.iter().zip(&waiting) {
                listed.on_room(inbox.room());
                inbox.wake();
            }
            if take_all(needed) {
                return true;
            }
            let left = wait.saturating_sub(start.elapsed());
            if left.is_zero() || self.is_closed() || needed.iter().any(|(inbox, _)| inbox.berth().is_lost()) {
                return false;
            }
            thread::park_timeout(left);
        }
    }

    fn channel_of(&self, event: &Event) -> Result<Arc<Channel>, PublishError> {
        if event.channel() == ANY {
            return Err(PublishError::Wildcard);
        }
        self.router.channel(event.channel()).map_err(PublishError::Limit)
    }

    /// The home of the channel called `name`.
    #[cfg(test)]
    pub(crate) fn home(&self, name: &str) -> Option<ShardId> {
        Some(self.router.channel(name).ok()?.home)
    }

    /// The channel called `name`, made at its first use.
    pub(crate) fn channel(&self, name: &str) -> Result<Arc<Channel>, LimitExceeded> {
        self.router.channel(name)
    }

    /// Takes a reader's subscriptions out of the index; from the next snapshot on they match nothing.
    pub(crate) fn unsubscribe(
        &self,
        Seat { shard, serial, .. }: Seat,
        numbers: impl IntoIterator<Item = u32>,
    ) {
        let keys: Vec<_> = numbers.into_iter().map(|number| (serial, number)).collect();
        let mut directory = self.directory(shard);
        self.give_quotas(&directory, keys.iter().copied());
        let count = directory.remove(shard, keys);
        drop(directory);
        self.of_readers(shard).subscriptions.sub(count);
    }

    /// `quiet`: it never had a subscription, so that its shard can forget it at leisure. To wake the shard's thread costs
    /// more than all else that is done for a client that asks a query only.
    pub(crate) fn close_reader(&self, Seat { shard, slot, serial }: Seat, quiet: bool) {
        let mut directory = self.directory(shard);
        let (inbox, close) = (self.inbox(shard), Control::Close { slot, serial });
        if quiet {
            inbox.control_at_leisure(close);
        } else {
            inbox.control(close);
        }
        directory.give_slot(serial, slot);
        drop(directory);
        self.counters.subscribers.sub(1);
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.add(&self.counters);
        for shard in &self.shards {
            metrics.add(&shard.counters);
            metrics.add(&shard.of_readers);
        }
        metrics.add_decisions(&self.decisions);
        metrics
    }

    pub(crate) fn shard_metrics(&self) -> Vec<ShardMetrics> {
        self.shards.iter().map(ShardHandle::metrics).collect()
    }

    pub(crate) fn count_drained(&self, shard: ShardId, delivered: u64, discarded: u64) {
        let counters = self.of_readers(shard);
        if delivered > 0 {
            counters.delivered.add(delivered);
        }
        if discarded > 0 {
            counters.discarded.add(discarded);
        }
    }
}

/// A thread that waits for room, at most once in the list of each room: one that came back each time it was woken would
/// fill the lists with itself, and be woken for each of its places.
struct Listed {
    is: AtomicBool,
    waker: std::task::Waker,
}

impl Listed {
    fn new() -> Arc<Self> {
        Arc::new(Self { is: AtomicBool::new(false), waker: notifier::unparker() })
    }

    /// Whoever gives room from now on wakes this thread.
    fn on_room(self: &Arc<Self>, room: &Room) {
        if !self.is.swap(true, Ordering::AcqRel) {
            room.on_room(Arc::clone(self).into());
        }
    }
}

impl std::task::Wake for Listed {
    fn wake(self: Arc<Self>) {
        self.is.swap(false, Ordering::AcqRel);
        self.waker.wake_by_ref();
    }
}

/// Takes room in each inbox, or in none.
fn take_all(needed: &[(&Inbox, usize)]) -> bool {
    for (at, &(inbox, count)) in needed.iter().enumerate() {
        if !inbox.room().take(count) {
            needed[..at].iter().for_each(|&(inbox, count)| inbox.room().give(count));
            return false;
        }
    }
    true
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(error) => error.fmt(f),
            Self::Closed => f.write_str("the engine is closed"),
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(event) => {
                write!(f, "no room for an event on `{}`: the shard's inbox is full", event.channel())
            }
            Self::Limit(error) => error.fmt(f),
            Self::Wildcard => f.write_str("`*` is not a channel to publish on: name one"),
            Self::Follows => f.write_str("the engine takes its events from a bus: publish there"),
            Self::Closed => f.write_str("the engine is closed"),
        }
    }
}

impl fmt::Display for PublishManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(events) => write!(f, "no room for {} events: a shard's inbox is full", events.len()),
            Self::Limit(error) => error.fmt(f),
            Self::Wildcard => PublishError::Wildcard.fmt(f),
            Self::Follows => PublishError::Follows.fmt(f),
            Self::Closed => PublishError::Closed.fmt(f),
        }
    }
}

impl std::error::Error for PublishManyError {}
impl std::error::Error for OpenError {}
impl std::error::Error for PublishError {}
