//! The running whole: shards, router, plans, and the verbs `open`, `subscribe`, `publish`, `close`.

use std::{
    collections::HashMap,
    fmt,
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{
    error::{GraphQlError, LimitExceeded},
    event::Event,
    id::ShardId,
    limits::Limits,
    loss::Losses,
    metrics::{Counters, Metrics, SharedCounters},
    notifier::Doorbell,
    plan::{OperationName, Plan, Plans, Schema},
    policy::{
        Predicate, ProgramError, Verified,
        standard::{self, Isolation},
    },
    ring,
    router::{self, Channel, Router},
    security::SecurityContext,
    shard::{
        Directory, Index, Member, Registration, Resolver, Shard, Subscribed,
        drive::{Driver, Sleeper},
        inbox::{self, Control, Inbox, Publish, Refused},
        receipt::Hold,
    },
    subscriber::{Subscriber, SubscriberOptions},
    sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    value::Value,
};

pub use crate::shard::{
    receipt::{Receipt, Report},
    resolve::{Job, Resolve},
};

/// Looks at a receipt before its publisher sleeps: about as long as a hand-over to a shard that is awake.
const RECEIPT_SPINS: u32 = 2_000;

/// Looks at an empty inbox in one microsecond of spinning, roughly.
const SPINS_PER_MICROSECOND: u32 = 20;

/// Why there is no engine.
#[derive(Debug)]
pub enum BuildError {
    /// A bound that cannot be.
    Limit(LimitExceeded),
    /// The rules of isolation do not compile.
    Policy(ProgramError),
    /// The system gives no thread.
    Thread(std::io::Error),
}

/// Why there is no subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// `subscribers_max`.
    Limit(LimitExceeded),
    /// The engine is closed.
    Closed,
}

/// Why there is no subscription; nothing was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscribeError {
    /// The document, the operation's name or the variables.
    InvalidQuery(Vec<GraphQlError>),
    /// The subscriber has a subscription with this id.
    AlreadyExists(String),
    /// Something is above its bound.
    Limit(LimitExceeded),
    /// An argument that cannot be; its name and what is wrong.
    InvalidArgument(&'static str, String),
    /// The policy of a channel cannot be applied: nobody may see what it guards.
    Policy(String),
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
    /// The engine is closed.
    Closed,
}

/// One GraphQL subscription to be registered.
#[derive(Clone, Debug, Default)]
pub struct SubscribeRequest {
    /// Its id, unique in its subscriber.
    pub id: String,
    /// The GraphQL document.
    pub query: String,
    /// Which operation of the document.
    pub operation_name: OperationName,
    /// Variables, an object or null.
    pub variables: Value,
    /// Who asks.
    pub context: SecurityContext,
    /// Channels by name; empty: the root field's name. `"*"`: all.
    pub channels: Vec<String>,
    /// Event types that are wanted; empty: all.
    pub events: Vec<String>,
    /// Makes the result; `None`: the event's document is projected.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Ask the resolver for this subscription alone, not once for all that share the result.
    pub per_subscription: bool,
}

/// Settings of an engine to be built.
#[derive(Clone, Debug, Default)]
pub struct EngineBuilder {
    shards: Option<usize>,
    limits: Limits,
    spin: Duration,
    pin: bool,
    schema: Option<Schema>,
    isolation: Isolation,
    channels: HashMap<String, Isolation>,
}

/// A handle to a running engine; the last handle that is dropped closes it.
#[derive(Clone)]
pub struct Engine(Arc<Owner>);

/// What all handles and subscribers share.
pub(crate) struct Core {
    limits: Limits,
    router: Router,
    plans: Plans,
    schema: Option<Schema>,
    shards: Vec<ShardHandle>,
    isolation: Arc<Verified>,
    channel_isolation: HashMap<String, Arc<Verified>>,
    counters: Arc<SharedCounters>,
    next_reader: AtomicU64,
    closed: AtomicBool,
    /// Publishes and registrations that are under way; closing waits for them.
    under_way: AtomicUsize,
}

struct ShardHandle {
    inbox: Inbox,
    counters: Arc<Counters>,
    index: Arc<ArcSwap<Index>>,
    #[allow(clippy::disallowed_types, reason = "control plane: registrations, never an event")]
    directory: Mutex<Directory>,
}

struct Owner {
    core: Arc<Core>,
    #[allow(clippy::disallowed_types, reason = "control plane: taken once, by close")]
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl EngineBuilder {
    /// Shard threads, from 1 to `shards_max`. Default: the available cores less one, at least one.
    #[must_use]
    pub fn shards(self, shards: usize) -> Self {
        Self { shards: Some(shards), ..self }
    }

    /// Bounds. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How long a shard looks at its empty inbox before it sleeps. Default: not at all, so that idle costs nothing.
    #[must_use]
    pub fn spin(self, spin: Duration) -> Self {
        Self { spin, ..self }
    }

    /// Whether each shard's thread stays on a core of its own. Default: no.
    #[must_use]
    pub fn pin(self, pin: bool) -> Self {
        Self { pin, ..self }
    }

    /// The schema that documents are validated against. Default: none.
    #[must_use]
    pub fn schema(self, schema: Option<Schema>) -> Self {
        Self { schema, ..self }
    }

    /// User and tenant isolation on every channel without rules of its own. Default: [`Isolation::default`].
    #[must_use]
    pub fn isolation(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// User and tenant isolation on one channel.
    #[must_use]
    pub fn channel(mut self, name: impl Into<String>, isolation: Isolation) -> Self {
        self.channels.insert(name.into(), isolation);
        self
    }

    /// Starts the engine.
    ///
    /// # Errors
    /// `BuildError::Limit` for no shards or more than `shards_max` (64 at most), `BuildError::Thread` from the system.
    pub fn build(self) -> Result<Engine, BuildError> {
        let cores = self.pin.then(core_affinity::get_core_ids).flatten().unwrap_or_default();
        let spins =
            u32::try_from(self.spin.as_micros()).unwrap_or(u32::MAX).saturating_mul(SPINS_PER_MICROSECOND);
        let (core, shards) = self.assemble()?;
        let threads = start(&core, shards, &cores, spins).map_err(BuildError::Thread)?;
        #[allow(clippy::disallowed_types, reason = "control plane: taken once, by close")]
        let threads = Mutex::new(threads);
        Ok(Engine(Arc::new(Owner { core, threads })))
    }

    /// All parts of an engine, before any thread runs: whoever has the shards steps them.
    pub(crate) fn assemble(self) -> Result<(Arc<Core>, Vec<(Shard, Arc<Sleeper>)>), BuildError> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let count = self.shards.unwrap_or(cores.saturating_sub(1)).max(1);
        LimitExceeded::check("shards_max", count, self.limits.shards_max.min(64))
            .map_err(BuildError::Limit)?;
        let channel_isolation = self
            .channels
            .iter()
            .map(|(name, rules)| Ok((name.clone(), rules.compile()?)))
            .collect::<Result<_, _>>();
        let sleepers: Vec<_> = (0..count).map(|_| Arc::new(Sleeper::default())).collect();
        let inbox = |sleeper: &Arc<Sleeper>| inbox::inbox(self.limits.inbox_commands_max, sleeper.waker());
        let (inboxes, outlets): (Vec<_>, Vec<_>) = sleepers.iter().map(inbox).unzip();
        let core = Arc::new(Core {
            router: Router::new(count as u16, self.limits.channels_max),
            plans: Plans::new(&self.limits),
            schema: self.schema,
            shards: inboxes.iter().map(ShardHandle::new).collect(),
            isolation: self.isolation.compile().map_err(BuildError::Policy)?,
            channel_isolation: channel_isolation.map_err(BuildError::Policy)?,
            counters: Arc::default(),
            next_reader: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            limits: self.limits,
        });
        let peers: Arc<[Inbox]> = inboxes.into();
        let shard = |(number, outlet)| {
            let ShardHandle { index, counters, .. } = &core.shards[number];
            let (peers, counters) = (Arc::clone(&peers), Arc::clone(counters));
            Shard::new(ShardId(number as u16), outlet, index, peers, counters, &core.limits)
        };
        let shards = outlets.into_iter().enumerate().map(shard).zip(sleepers).collect();
        Ok((core, shards))
    }
}

fn start(
    core: &Core,
    shards: Vec<(Shard, Arc<Sleeper>)>,
    cores: &[core_affinity::CoreId],
    spins: u32,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let undrained = Arc::new(std::sync::atomic::AtomicUsize::new(shards.len()));
    let peers: Arc<[Inbox]> = core.shards.iter().map(|shard| shard.inbox.clone()).collect();
    let driver = |(number, (shard, sleeper))| {
        let driver = Driver {
            name: format!("coulis-shard-{number}"),
            core: (!cores.is_empty()).then(|| cores[number % cores.len()]),
            spins,
            sleeper,
            undrained: Arc::clone(&undrained),
            peers: Arc::clone(&peers),
        };
        driver.start(shard)
    };
    shards.into_iter().enumerate().map(driver).collect()
}

impl ShardHandle {
    #[allow(clippy::disallowed_types, reason = "control plane: registrations, never an event")]
    fn new(inbox: &Inbox) -> Self {
        let index = Arc::default();
        let directory = Mutex::new(Directory::new(Arc::clone(&index)));
        Self { inbox: inbox.clone(), counters: Arc::default(), index, directory }
    }
}

impl Engine {
    /// Settings to start from.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Opens a reader.
    ///
    /// # Errors
    /// `subscribers_max`, or the engine is closed.
    pub fn open(&self, options: SubscriberOptions) -> Result<Subscriber, OpenError> {
        self.0.core.open(options)
    }

    /// Registers a subscription with a reader of this engine. Every event whose publish starts after this returned
    /// is seen by it.
    ///
    /// # Errors
    /// See [`SubscribeError`]; nothing was registered.
    pub fn subscribe(
        &self,
        subscriber: &mut Subscriber,
        request: SubscribeRequest,
    ) -> Result<(), SubscribeError> {
        self.0.core.subscribe(subscriber, request)
    }

    /// Hands an event to its channel's home shard; waits up to `publish_wait_max` for room in its inbox.
    ///
    /// The receipt tells what became of it; [`Receipt::wait`] waits until its deliveries are readable.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing of the event is delivered.
    pub fn publish(&self, event: Event) -> Result<Receipt, PublishError> {
        let (receipt, hold) = Receipt::new(RECEIPT_SPINS);
        let wait = self.0.core.limits.publish_wait_max;
        self.0.core.offer(event, Some(hold), |inbox, publish| inbox.offer_within(publish, wait))?;
        Ok(receipt)
    }

    /// The same, but where there is no room the event comes back at once.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn try_publish(&self, event: Event) -> Result<Receipt, PublishError> {
        let (receipt, hold) = Receipt::new(RECEIPT_SPINS);
        self.0.core.offer(event, Some(hold), Inbox::offer)?;
        Ok(receipt)
    }

    /// Accepts an event without a receipt; waits for room. The cheapest form.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish_nowait(&self, event: Event) -> Result<(), PublishError> {
        let wait = self.0.core.limits.publish_wait_max;
        self.0.core.offer(event, None, |inbox, publish| inbox.offer_within(publish, wait))
    }

    /// The compiled operation of a document, made once for each document and name.
    ///
    /// # Errors
    /// What is wrong with the document.
    pub fn plan(&self, document: &str, operation: &OperationName) -> Result<Arc<Plan>, Vec<GraphQlError>> {
        self.0.core.plan(document, operation)
    }

    /// The ids of the subscriptions on a channel, in no particular order. O(subscriptions on the channel).
    pub fn subscriptions_by_channel(&self, channel: &str) -> Vec<String> {
        let core = &self.0.core;
        let Some(channel) = core.router.find(channel) else { return Vec::new() };
        let ids = |shard: usize| {
            core.directory(ShardId(shard as u16)).ids(channel.id).map(|id| String::from(&**id)).collect()
        };
        (0..core.shards.len()).flat_map(|shard| -> Vec<String> { ids(shard) }).collect()
    }

    /// The counters now.
    pub fn metrics(&self) -> Metrics {
        self.0.core.metrics()
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.0.core.limits
    }

    /// Stops accepting, finishes what was accepted, ends the threads. Frames that are in rings stay readable.
    /// Safe to repeat.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether [`Engine::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.0.core.closed.load(Ordering::SeqCst)
    }
}

impl Owner {
    fn close(&self) {
        self.core.stop();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A shard that panicked has said so on standard error.
            _ = thread.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

/// While this lives, closing waits.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Core {
    /// Enters unless the engine is closed: either this sees `closed`, or closing sees this.
    fn enter(&self) -> Option<UnderWay<'_>> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let under_way = UnderWay(&self.under_way);
        (!self.closed.load(Ordering::SeqCst)).then_some(under_way)
    }

    /// Accepts nothing more and asks the shards to leave when everything accepted is done. Safe to repeat.
    pub(crate) fn stop(&self) {
        let first = !self.closed.swap(true, Ordering::SeqCst);
        // Whoever entered before `closed` was set is served by shards that still run, so this ends.
        while self.under_way.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        if first {
            self.shards.iter().for_each(|shard| shard.inbox.control(Control::Stop));
        }
    }

    pub(crate) fn open(self: &Arc<Self>, options: SubscriberOptions) -> Result<Subscriber, OpenError> {
        let _under_way = self.enter().ok_or(OpenError::Closed)?;
        let open = self.counters.subscribers.get() as usize;
        LimitExceeded::check("subscribers_max", open + 1, self.limits.subscribers_max)
            .map_err(OpenError::Limit)?;
        self.counters.subscribers.add(1);
        let serial = self.next_reader.fetch_add(1, Ordering::Relaxed);
        let shard = ShardId((serial % self.shards.len() as u64) as u16);
        let (producer, consumer) = ring::ring(options.ring_frames_max.unwrap_or(self.limits.ring_frames_max));
        let doorbell = Doorbell::new(options.mailbox);
        let lanes_max = self.limits.subscriptions_per_subscriber_max.min(usize::from(u16::MAX));
        let losses = Arc::new(Losses::new(lanes_max));
        let mut directory = self.directory(shard);
        let slot = directory.take_slot();
        let opened = Control::Open {
            slot,
            serial,
            ring: producer,
            losses: Arc::clone(&losses),
            doorbell: Arc::clone(&doorbell),
        };
        self.inbox(shard).control(opened);
        drop(directory);
        Ok(Subscriber::new(Arc::clone(self), shard, slot, serial, consumer, losses, doorbell))
    }

    pub(crate) fn inbox(&self, shard: ShardId) -> &Inbox {
        &self.shards[usize::from(shard.0)].inbox
    }

    fn directory(&self, shard: ShardId) -> MutexGuard<'_, Directory> {
        self.shards[usize::from(shard.0)].directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, document: &str, operation: &OperationName) -> Result<Arc<Plan>, Vec<GraphQlError>> {
        self.plans.plan(document, operation, self.schema.as_ref())
    }

    pub(crate) fn offer(
        &self,
        event: Event,
        hold: Option<Hold>,
        offer: impl FnOnce(&Inbox, Publish) -> Result<(), Refused>,
    ) -> Result<(), PublishError> {
        let _under_way = self.enter().ok_or(PublishError::Closed)?;
        if event.channel() == router::ANY {
            return Err(PublishError::Wildcard);
        }
        let channel = self.router.channel(event.channel()).map_err(PublishError::Limit)?;
        let shards = self.router.readers(&channel);
        let publish = Publish { channel: channel.id, event, shards, hold };
        offer(self.inbox(channel.home), publish).map_err(|refused| match refused {
            Refused::Full(publish) => {
                self.counters.queue_full.add(1);
                PublishError::Full(Box::new(publish.event))
            }
            Refused::Closed => PublishError::Closed,
        })
    }

    pub(crate) fn subscribe(
        &self,
        subscriber: &mut Subscriber,
        request: SubscribeRequest,
    ) -> Result<(), SubscribeError> {
        let _under_way = self.enter().ok_or(SubscribeError::Closed)?;
        let SubscribeRequest { id, query, operation_name, variables, context, channels, events, .. } =
            request;
        self.check_names(&id, &channels, &events)?;
        if subscriber.has(&id) {
            return Err(SubscribeError::AlreadyExists(id));
        }
        let plan = self.plan(&query, &operation_name).map_err(SubscribeError::InvalidQuery)?;
        let bound = plan.bind(&variables, &self.limits).map_err(SubscribeError::InvalidQuery)?;
        let channels = self.channels(channels, plan.root_field(), &context)?;
        let (subscription, lane) = subscriber
            .reserve(self.limits.subscriptions_per_subscriber_max)
            .map_err(SubscribeError::Limit)?;
        let (shard, id) = (subscriber.shard, Arc::<str>::from(id));
        let resolved = request.resolver.is_some();
        let resolver = request.resolver.map(|resolve| Resolver {
            resolve,
            variables: Arc::new(bound.variables),
            subscription: Arc::clone(&id),
        });
        let subscribed = Subscribed {
            id: Arc::clone(&id),
            member: Member { reader: subscriber.serial, slot: subscriber.slot, subscription, lane },
            channels: channels.iter().map(|(channel, predicate)| (channel.id, predicate.clone())).collect(),
            events: events.into_iter().map(String::into_boxed_str).collect(),
            projection: bound.projection,
            resolver,
            per_subscription: request.per_subscription,
        };
        let mut directory = self.directory(shard);
        let registration = directory.add(subscribed);
        channels.iter().for_each(|(channel, _)| channel.set_reader(shard, true));
        drop(directory);
        self.counters.subscriptions.add(1);
        let channels = channels.into_iter().map(|(channel, _)| channel).collect();
        subscriber.keep(id, registration, channels, resolved);
        Ok(())
    }

    fn check_names(&self, id: &str, channels: &[String], events: &[String]) -> Result<(), SubscribeError> {
        let max = self.limits.subscription_id_bytes_max;
        LimitExceeded::check("subscription_id_bytes_max", id.len(), max).map_err(SubscribeError::Limit)?;
        for (name, texts) in [("channel", channels), ("events", events)] {
            let count_max = self.limits.channels_per_subscription_max;
            LimitExceeded::check("channels_per_subscription_max", texts.len(), count_max)
                .map_err(SubscribeError::Limit)?;
            for text in texts {
                if text.is_empty() {
                    return Err(SubscribeError::InvalidArgument(name, "a name cannot be empty".into()));
                }
                LimitExceeded::check("name_bytes_max", text.len(), self.limits.name_bytes_max)
                    .map_err(SubscribeError::Limit)?;
            }
        }
        Ok(())
    }

    /// The channels by name, each once, each with the predicate that holds there for `context`.
    fn channels(
        &self,
        mut names: Vec<String>,
        root_field: &str,
        context: &SecurityContext,
    ) -> Result<Vec<(Arc<Channel>, Predicate)>, SubscribeError> {
        if names.is_empty() {
            names.push(root_field.into());
        }
        if names.iter().any(|name| name == router::ANY) {
            names = vec![router::ANY.into()];
        }
        names.sort_unstable();
        names.dedup();
        names
            .iter()
            .map(|name| {
                let program = self.channel_isolation.get(name).unwrap_or(&self.isolation);
                let predicate =
                    standard::isolate(Arc::clone(program), context.user.clone(), context.tenant.clone())
                        .map_err(|error| SubscribeError::Policy(error.to_string()))?;
                Ok((self.router.channel(name).map_err(SubscribeError::Limit)?, predicate))
            })
            .collect()
    }

    /// Takes subscriptions out of the index; from the next snapshot on they match nothing.
    pub(crate) fn unsubscribe<'a>(
        &self,
        shard: ShardId,
        gone: impl IntoIterator<Item = (&'a Registration, &'a [Arc<Channel>])>,
    ) {
        let mut directory = self.directory(shard);
        let mut count = 0;
        for (registration, channels) in gone {
            directory.remove(registration);
            for channel in channels {
                channel.set_reader(shard, directory.has(channel.id));
            }
            count += 1;
        }
        drop(directory);
        self.counters.subscriptions.sub(count);
    }

    pub(crate) fn close_subscriber(&self, shard: ShardId, slot: u32, serial: u64) {
        let mut directory = self.directory(shard);
        self.inbox(shard).control(Control::Close { slot, serial });
        directory.give_slot(slot);
        drop(directory);
        self.counters.subscribers.sub(1);
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.add(&self.counters);
        self.shards.iter().for_each(|shard| metrics.add(&shard.counters));
        metrics
    }

    pub(crate) fn count_drained(&self, delivered: u64, discarded: u64) {
        if delivered > 0 {
            self.counters.delivered.add(delivered);
        }
        if discarded > 0 {
            self.counters.discarded.add(discarded);
        }
    }
}

impl SubscribeError {
    /// A stable word for clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidQuery(errors) => {
                errors.first().map_or("GRAPHQL_VALIDATION_FAILED", |error| error.code)
            }
            Self::AlreadyExists(_) => "ALREADY_EXISTS",
            Self::Limit(_) => "LIMIT_EXCEEDED",
            Self::InvalidArgument(..) => "BAD_ARGUMENT",
            Self::Policy(_) => "POLICY_ERROR",
            Self::Closed => "ENGINE_CLOSED",
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(error) => error.fmt(f),
            Self::Policy(error) => write!(f, "the rules of isolation: {error}"),
            Self::Thread(error) => write!(f, "no thread for a shard: {error}"),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(error) => error.fmt(f),
            Self::Closed => f.write_str("the engine is closed"),
        }
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidQuery(errors) => {
                let messages: Vec<_> = errors.iter().map(GraphQlError::to_string).collect();
                f.write_str(&messages.join("; "))
            }
            Self::AlreadyExists(id) => {
                write!(f, "subscription `{id}` already exists: complete it first or take another id")
            }
            Self::Limit(error) => error.fmt(f),
            Self::InvalidArgument(name, reason) => write!(f, "{name}: {reason}"),
            Self::Policy(reason) => write!(f, "the channel's policy cannot be applied: {reason}"),
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
            Self::Closed => f.write_str("the engine is closed"),
        }
    }
}

impl std::error::Error for BuildError {}
impl std::error::Error for OpenError {}
impl std::error::Error for SubscribeError {}
impl std::error::Error for PublishError {}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("shards", &self.0.core.shards.len()).finish_non_exhaustive()
    }
}
