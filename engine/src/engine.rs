//! The running whole: shards, router, plans, and the verbs `open`, `subscribe`, `publish`, `close`.

mod follow;
mod hosted;
mod live;

use std::{
    convert::Infallible,
    fmt,
    num::NonZero,
    sync::{Arc, OnceLock, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    control::{Assembled, Catalogue, Clock, ControlPlane, Locked, Settings, Unruly},
    cursor::Cursor,
    error::{GraphQlError, LimitExceeded},
    event::Event,
    id::{ANY, ChannelId},
    limits::Limits,
    metrics::{Metrics, Module, Ruling, ShardMetrics},
    overflow::Overflow,
    plan::{Bound, DocumentDigest, Introspection, OperationName, Plan, Projection, Refused, Schema},
    policy::{Constant, Predicate, standard::Isolation},
    security::{
        Asked, ChannelRules, Condition, DeliveryRates, Pace, RuleError, Rulebook, Rules, SecurityContext,
        TooOften, VariableScope,
        access::{Access, AccessError, Gate},
    },
    shard::{Member, Recipe, Resolver, Subscribed, Terms, drive::Driver, resume::Outcome},
    subscriber::{Kept, Reload, Resumed, Subscriber, SubscriberOptions},
    value::Value,
};

pub use crate::control::{OpenError, PublishError, PublishManyError, Verdict};
pub use crate::shard::{
    carried::Missed,
    receipt::{Receipt, Report},
    resolve::{Job, Resolve},
    undelivered::Undelivered,
};

/// Frames of a ring that any setting can ask for: its indexes and its memory have an end.
const RING_FRAMES_MAX: usize = 1 << 24;

/// Looks at a receipt before its publisher sleeps: about as long as a hand-over to a shard that is awake.
const RECEIPT_SPINS: u32 = 2_000;

/// Looks at an empty inbox in one microsecond of spinning, roughly.
const SPINS_PER_MICROSECOND: u32 = 20;

/// Why there is no engine.
#[derive(Debug)]
pub enum BuildError {
    /// A bound that cannot be.
    Limit(LimitExceeded),
    /// A policy that does not compile.
    Policy(RuleError),
    /// The rules of who may read which field.
    Access(AccessError),
    /// The system gives no thread.
    Thread(std::io::Error),
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
    Policy(RuleError),
    /// The reader may not read a field that it selects.
    Forbidden {
        /// Its path from the root field, by names of fields and not by aliases.
        field: String,
    },
    /// A variable or an argument names another user or tenant than the reader's.
    ForbiddenVariable {
        /// Its name, and those inside it that lead to the place.
        variable: String,
    },
    /// The user, the tenant or the subscriber registers more often than [`Pace`] allows.
    RateLimited(&'static str),
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
    /// Must hold for every event that is delivered, beside the rules of the engine.
    pub policies: Vec<Condition>,
    /// The same, as the client wishes it: it can only narrow.
    pub filters: Vec<Condition>,
    /// Makes the result; `None`: the event's document is projected.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Ask the resolver for this subscription alone, not once for all that share the result.
    pub per_subscription: bool,
    /// What happens when the reader's ring is full.
    pub overflow: Overflow,
    /// The last cursor that the reader has seen: everything after it comes first, or the reader is told that it has to
    /// load anew. An empty text asks for the present position only. `None`: no such wish.
    pub resume: Option<String>,
}

/// Settings of an engine to be built.
#[derive(Clone, Debug, Default)]
pub struct EngineBuilder {
    shards: Option<usize>,
    spin: Duration,
    pin: bool,
    settings: Settings,
}

/// The channels of a subscription, each once; without any, its root field's name.
fn names(mut names: Vec<String>, root_field: &str) -> Vec<String> {
    if names.is_empty() {
        names.push(root_field.into());
    }
    if names.iter().any(|name| name == ANY) {
        names = vec![ANY.into()];
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// What a subscription adds to the rules.
fn asked(request: &SubscribeRequest, plan: &Plan, bound: &Bound) -> Asked {
    Asked {
        field: plan.root_field().into(),
        policies: request.policies.as_slice().into(),
        filters: request.filters.as_slice().into(),
        arguments: Constant::from(&plan.arguments(&bound.variables)),
        variables: Constant::from(&bound.variables),
    }
}

/// A handle to a running engine; the last handle that is dropped closes it.
#[derive(Clone)]
pub struct Engine(Arc<Owner>);

struct Owner {
    plane: Arc<ControlPlane>,
    threads: Locked<Vec<JoinHandle<()>>>,
    /// Disconnected when all threads have left; none without threads.
    left: OnceLock<flume::Receiver<Infallible>>,
}

impl EngineBuilder {
    /// Shard threads, from 1 to `shards_max`. Default: the available cores less one, at least one.
    #[must_use]
    pub fn shards(self, shards: usize) -> Self {
        Self { shards: Some(shards), ..self }
    }

    /// Bounds. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
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
    pub fn schema(mut self, schema: Option<Schema>) -> Self {
        self.settings.schema = schema;
        self
    }

    /// Whether documents may ask for the schema by `__schema` and `__type`. Default: yes. Where they may not, a document
    /// that does is refused with `INTROSPECTION_DISABLED`. No error suggests a name, whatever is set here.
    #[must_use]
    pub fn introspection(mut self, allowed: bool) -> Self {
        let introspection = if allowed { Introspection::Allowed } else { Introspection::Refused };
        self.settings.admission.introspection = introspection;
        self
    }

    /// The only documents that may be subscribed with; any other is refused with `OPERATION_NOT_ALLOWED` before it is
    /// parsed. Default: all. Of none, nothing may be subscribed to.
    #[must_use]
    pub fn allowed_operations(mut self, digests: impl IntoIterator<Item = DocumentDigest>) -> Self {
        self.settings.admission.operations = Some(digests.into_iter().collect());
        self
    }

    /// User and tenant isolation on every channel without rules of its own. Default: [`Isolation::default`].
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.settings.rules.default.isolation = isolation;
        self
    }

    /// What guards one channel: isolation, and a policy.
    #[must_use]
    pub fn channel(mut self, name: impl Into<String>, rules: impl Into<ChannelRules>) -> Self {
        self.settings.rules.channels.insert(name.into(), rules.into());
        self
    }

    /// A policy that must hold beside the channel's for subscriptions to this root field.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, policy: impl Into<Condition>) -> Self {
        self.settings.rules.fields.insert(name.into(), policy.into());
        self
    }

    /// All row policies at once. Default: [`Rules::default`].
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.settings.rules = rules;
        self
    }

    /// How often subscriptions may be registered. Default: as often as anybody likes.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.settings.pace = pace;
        self
    }

    /// How often results may be delivered. What a rate withholds is counted as `rate_limited`, and its reader is told
    /// in-band, as of a full ring, with the reason `rate`. Default: as often as there are results.
    #[must_use]
    pub fn delivery_rates(mut self, rates: DeliveryRates) -> Self {
        self.settings.delivery_rates = rates;
        self
    }

    /// What time it is, in seconds since 1970, for contexts that expire. Default: the system's clock.
    #[must_use]
    pub fn clock(mut self, seconds: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.settings.clock = Clock(Arc::new(seconds));
        self
    }

    /// Who may read which field. Default: everybody everything that the policies show.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.settings.access = access;
        self
    }

    /// Which variables and arguments name the reader's user and tenant. Default: [`VariableScope::default`].
    #[must_use]
    pub fn variable_scope(mut self, variable_scope: VariableScope) -> Self {
        self.settings.variable_scope = variable_scope;
        self
    }

    /// The incarnation of the channels' logs, for runs that can be repeated. Default: a random one.
    #[cfg(test)]
    pub(crate) fn epoch(mut self, epoch: crate::cursor::Epoch) -> Self {
        self.settings.epoch = Some(epoch);
        self
    }

    /// Starts the engine.
    ///
    /// # Errors
    /// `BuildError::Limit` for no shards or more than `shards_max` (64 at most) and for rings beyond 2²⁴ frames,
    /// `BuildError::Access` for rules that the schema does not bear, `BuildError::Thread` from the system.
    pub fn build(self) -> Result<Engine, BuildError> {
        let cores = self.pin.then(core_affinity::get_core_ids).flatten().unwrap_or_default();
        let spins =
            u32::try_from(self.spin.as_micros()).unwrap_or(u32::MAX).saturating_mul(SPINS_PER_MICROSECOND);
        let (engine, shards) = self.assemble()?;
        let undrained = Arc::new(std::sync::atomic::AtomicUsize::new(shards.len()));
        let peers = engine.0.plane.inboxes();
        let (running, left) = flume::bounded(0);
        // Set once, here.
        _ = engine.0.left.set(left);
        for (number, (shard, sleeper)) in shards.into_iter().enumerate() {
            let core = (!cores.is_empty()).then(|| cores[number % cores.len()]);
            let (undrained, peers) = (Arc::clone(&undrained), Arc::clone(&peers));
            let (name, inbox) = (format!("coulis-shard-{number}"), peers[number].clone());
            let outlet = shard.outlet().clone();
            inbox.berth().moor(shard);
            let driver = Driver { name, core, spins, sleeper, undrained, peers, inbox, outlet };
            let thread = driver.start(running.clone()).map_err(BuildError::Thread)?;
            engine.0.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(engine)
    }

    /// An engine before any thread runs: who has the shards steps them.
    pub(crate) fn assemble(self) -> Result<(Engine, Assembled), BuildError> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let count = self.shards.unwrap_or(cores.saturating_sub(1)).max(1);
        let max = self.settings.limits.shards_max.min(64);
        LimitExceeded::check("shards_max", count, max).map_err(BuildError::Limit)?;
        let Limits { ring_frames_max, inbox_commands_max, batch_commands_max, .. } = self.settings.limits;
        LimitExceeded::check("ring_frames_max", ring_frames_max, RING_FRAMES_MAX)
            .map_err(BuildError::Limit)?;
        // With none at once, nothing would ever be done.
        for (limit, max) in
            [("inbox_commands_max", inbox_commands_max), ("batch_commands_max", batch_commands_max)]
        {
            LimitExceeded::check(limit, 1, max).map_err(BuildError::Limit)?;
        }
        let (plane, shards) =
            ControlPlane::new(self.settings, count as u16).map_err(|error| match error {
                Unruly::Policy(error) => BuildError::Policy(error),
                Unruly::Access(error) => BuildError::Access(error),
            })?;
        let (plane, threads, left) = (Arc::new(plane), Locked::default(), OnceLock::new());
        let owner = Owner { plane, threads, left };
        Ok((Engine(Arc::new(owner)), shards))
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
        let SubscriberOptions { wake, ring_frames_max } = options;
        let opened = self.0.plane.open(wake, ring_frames_max)?;
        Ok(Subscriber::new(Arc::clone(&self.0.plane), opened))
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
        let result = self.register(subscriber, request);
        self.0.plane.count_registration(&result);
        result
    }

    fn pace(&self, subscriber: &Subscriber, context: &SecurityContext) -> Result<(), SubscribeError> {
        self.0.plane.pace(context, subscriber.seat()).map_err(|early| match early {
            TooOften::Empty(whose) => SubscribeError::RateLimited(whose),
            TooOften::Limit(limit) => SubscribeError::Limit(limit),
        })
    }

    fn register(&self, subscriber: &mut Subscriber, request: SubscribeRequest) -> Result<(), SubscribeError> {
        let plane = &self.0.plane;
        let _under_way = plane.enter().ok_or(SubscribeError::Closed)?;
        let id = self.check(subscriber, &request)?;
        let catalogue = plane.catalogue();
        let plan = catalogue.plan(&request.query, &request.operation_name);
        if subscriber.admitted > 0 {
            subscriber.admitted -= 1;
        } else {
            self.pace(subscriber, &request.context)?;
            plane.decided_document(&plan);
        }
        let plan = plan.map_err(SubscribeError::InvalidQuery)?;
        let bound = plan.bind(&request.variables, plane.limits()).map_err(SubscribeError::InvalidQuery)?;
        let asked = asked(&request, &plan, &bound);
        let projection = self.readable(&catalogue, &bound, &asked, &request.context)?;
        let SubscribeRequest { resolver, resume, overflow, per_subscription, .. } = &request;
        let resolver = resolver.clone().map(|resolve| (resolve, bound.variables.clone()));
        let resume = resume.as_deref().map(|text| match text {
            "" => Err(Reload::New),
            text => text.parse::<Cursor>().map_err(|_| Reload::Cursor),
        });
        let (overflow, per_subscription) = (overflow.clone(), *per_subscription);
        let (book, recipe, predicates) =
            self.judge(request, &catalogue, &plan, bound, asked, subscriber.context())?;
        let channels: Vec<_> = recipe.terms.channels.iter().map(|(channel, _)| Arc::clone(channel)).collect();
        let one_log = matches!(&*channels, [channel] if channel.id != ChannelId::ANY);
        let context = Arc::clone(&recipe.context);
        let reader = subscriber.seat().serial;
        plane.take_quota(&context, reader).map_err(SubscribeError::Limit)?;
        let member = subscriber.reserve(plane.limits());
        let member =
            member.inspect_err(|_| plane.give_quota(&context, reader)).map_err(SubscribeError::Limit)?;
        let member = Member { resumed: resume.is_some() && one_log, ..member };
        let resolved = resolver.is_some();
        let resolver = resolver.map(|(resolve, variables)| Resolver {
            resolve,
            variables: Arc::new(variables),
            subscription: Arc::clone(&id),
        });
        let subscribed = Subscribed {
            id: Arc::clone(&id),
            member,
            channels: channels.iter().map(|channel| channel.id).zip(predicates).collect(),
            projection,
            resolver,
            per_subscription,
            overflow: overflow.clone(),
            recipe,
        };
        plane.register(subscriber.seat(), subscribed, &channels, (&book, &catalogue));
        let outcome = resume.map(|after| {
            let outcome = Outcome::default();
            match &*channels {
                [channel] if one_log => plane.resume(subscriber.shard(), member, channel, after, &outcome),
                // Never set before.
                _ => _ = outcome.set(Resumed { result: Err(Reload::Cursor), cursor: None }),
            }
            outcome
        });
        let (channels, overflow) = (&*channels, &overflow);
        subscriber.keep(Kept { id, member, channels, resolved, overflow, context, outcome });
        Ok(())
    }

    /// What decides which events a subscription gets, on each of its channels, and the rules that it was judged by.
    fn judge(
        &self,
        request: SubscribeRequest,
        catalogue: &Catalogue,
        plan: &Plan,
        bound: Bound,
        asked: Asked,
        last: Option<&Arc<SecurityContext>>,
    ) -> Result<(Arc<Rulebook>, Recipe, Vec<Predicate>), SubscribeError> {
        let plane = &self.0.plane;
        let (book, constant) = (plane.rulebook(), request.context.constant());
        let hidden = catalogue.hidden_from(&book, &asked, &request.context);
        let hidden = hidden.inspect_err(|_| plane.decided(Module::ClientFilter, Ruling::Error));
        if let Some(field) = hidden.map_err(SubscribeError::Policy)? {
            plane.decided(Module::ClientFilter, Ruling::Denied);
            return Err(SubscribeError::Forbidden { field });
        }
        let names = names(request.channels, plan.root_field());
        let predicate = |name: &String| {
            let judged = book.predicate(name, &asked, &constant);
            plane.decided_channel(&book, name, &asked, &request.context, &judged);
            judged
        };
        let predicates =
            names.iter().map(predicate).collect::<Result<_, _>>().map_err(SubscribeError::Policy)?;
        let channel = |name: String| Ok((plane.channel(&name)?, name.into()));
        let channels =
            names.into_iter().map(channel).collect::<Result<_, _>>().map_err(SubscribeError::Limit)?;
        let events = request.events.into_iter().map(String::into_boxed_str).collect();
        let context = plane.share_context(request.context, last);
        let Bound { variables, projection } = bound;
        let operation = match plan.operation_name() {
            Some(name) => OperationName::Named(name.into()),
            None => OperationName::Only,
        };
        let document = Arc::clone(plan.document());
        let terms = Terms { asked, channels, events, document, operation, variables, projection };
        let terms = plane.share_terms(terms);
        let recipe = Recipe { context, terms };
        Ok((book, recipe, predicates))
    }

    /// What of a subscription its reader may read.
    fn readable(
        &self,
        catalogue: &Catalogue,
        bound: &Bound,
        asked: &Asked,
        context: &SecurityContext,
    ) -> Result<Arc<Projection>, SubscribeError> {
        let plane = &self.0.plane;
        let checked = plane.check_variables(asked, context);
        plane.decided(Module::Variables, if checked.is_ok() { Ruling::Allowed } else { Ruling::Denied });
        checked.map_err(|variable| SubscribeError::ForbiddenVariable { variable })?;
        let readable = catalogue.gate.project(&bound.projection, context);
        if !catalogue.gate.is_open() {
            let outcome = match readable {
                Ok(_) => Ruling::Allowed,
                Err(Refused::Field(_)) => Ruling::Denied,
                Err(Refused::Limit(_)) => Ruling::Error,
            };
            plane.decided(Module::FieldAccess, outcome);
        }
        readable.map_err(|refused| match refused {
            Refused::Field(field) => SubscribeError::Forbidden { field },
            Refused::Limit(error) => SubscribeError::InvalidQuery(vec![error]),
        })
    }

    /// Checks the names in a request and whether it fits its reader; answers its id.
    fn check(&self, subscriber: &Subscriber, request: &SubscribeRequest) -> Result<Arc<str>, SubscribeError> {
        let SubscribeRequest { id, channels, events, .. } = request;
        let limits = self.0.plane.limits();
        let within =
            |limit, asked, max| LimitExceeded::check(limit, asked, max).map_err(SubscribeError::Limit);
        within("subscription_id_bytes_max", id.len(), limits.subscription_id_bytes_max)?;
        for conditions in [&request.policies, &request.filters] {
            within("channels_per_subscription_max", conditions.len(), limits.channels_per_subscription_max)?;
        }
        for (name, texts) in [("channel", channels), ("events", events)] {
            within("channels_per_subscription_max", texts.len(), limits.channels_per_subscription_max)?;
            for text in texts {
                if text.is_empty() {
                    return Err(SubscribeError::InvalidArgument(name, "a name cannot be empty".into()));
                }
                within("name_bytes_max", text.len(), limits.name_bytes_max)?;
            }
        }
        if !subscriber.belongs_to(&self.0.plane) {
            return Err(SubscribeError::InvalidArgument(
                "subscriber",
                "it was opened by another engine".into(),
            ));
        }
        if subscriber.has(id) {
            Err(SubscribeError::AlreadyExists(id.clone()))
        } else {
            Ok(id.as_str().into())
        }
    }

    /// Hands an event to its channel's home shard; waits up to `publish_wait_max` for room in its inbox.
    ///
    /// The receipt tells what became of it; [`Receipt::wait`] waits until its deliveries are readable.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing of the event is delivered.
    pub fn publish(&self, event: Event) -> Result<Receipt, PublishError> {
        self.publish_within(event, self.patience())
    }

    /// The same, but where there is no room the event comes back at once.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn try_publish(&self, event: Event) -> Result<Receipt, PublishError> {
        self.publish_within(event, Duration::ZERO)
    }

    fn publish_within(&self, event: Event, wait: Duration) -> Result<Receipt, PublishError> {
        let (receipt, hold) = Receipt::new(RECEIPT_SPINS);
        let home = self.0.plane.offer(event, Some(hold), wait)?;
        home.run(|| receipt.is_dispatched());
        Ok(receipt)
    }

    /// Publishes and waits until every delivery that needs no asynchronous resolver is readable.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing of the event is delivered.
    pub fn publish_blocking(&self, event: Event) -> Result<Report, PublishError> {
        self.publish(event).map(|receipt| receipt.wait())
    }

    /// Accepts an event without a receipt; waits for room. The cheapest form.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish_nowait(&self, event: Event) -> Result<(), PublishError> {
        self.0.plane.offer(event, None, self.patience())?.wake();
        Ok(())
    }

    /// Publishes a batch with one hand-over to each shard, in order; waits up to `publish_wait_max` for room. Answers a
    /// receipt for each event.
    ///
    /// # Errors
    /// See [`PublishManyError`]; nothing of the batch is delivered, unless a shard panicked (`Closed`).
    pub fn publish_many(&self, events: Vec<Event>) -> Result<Vec<Receipt>, PublishManyError> {
        self.publish_many_within(events, self.patience())
    }

    /// The same, but where there is no room the events come back at once.
    ///
    /// # Errors
    /// See [`Engine::publish_many`].
    pub fn try_publish_many(&self, events: Vec<Event>) -> Result<Vec<Receipt>, PublishManyError> {
        self.publish_many_within(events, Duration::ZERO)
    }

    fn publish_many_within(
        &self,
        events: Vec<Event>,
        wait: Duration,
    ) -> Result<Vec<Receipt>, PublishManyError> {
        let (receipts, holds): (Vec<_>, Vec<_>) = events.iter().map(|_| Receipt::new(RECEIPT_SPINS)).unzip();
        let batch = events.into_iter().zip(holds).collect();
        let homes = self.0.plane.offer_many(batch, wait)?;
        for home in homes {
            home.run(|| receipts.last().is_none_or(Receipt::is_dispatched));
        }
        Ok(receipts)
    }

    /// How long a publish that finds no room waits for it.
    fn patience(&self) -> Duration {
        self.0.plane.limits().publish_wait_max
    }

    /// The rules of who may read which field, held against the schema of this moment.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.0.plane.catalogue().gate)
    }

    /// The ids of the subscriptions on a channel, in no particular order. O(subscriptions on the channel).
    pub fn subscriptions_by_channel(&self, channel: &str) -> Vec<String> {
        self.0.plane.ids(channel)
    }

    /// The counters now.
    pub fn metrics(&self) -> Metrics {
        self.0.plane.metrics()
    }

    /// What each shard counts now, in their order. O(shards).
    pub fn shard_metrics(&self) -> Vec<ShardMetrics> {
        self.0.plane.shard_metrics()
    }

    /// What shards that somebody steps by hand are told.
    #[cfg(test)]
    pub(crate) fn plane(&self) -> &ControlPlane {
        &self.0.plane
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        self.0.plane.limits()
    }

    /// Stops accepting, finishes what was accepted, ends the threads. Frames that are in rings stay readable; what
    /// resolvers have not answered by then is lost. Takes as long as dispatching what was accepted does. Safe to
    /// repeat.
    pub fn close(&self) {
        self.0.close();
    }

    /// The same within `patience`, and answers of resolvers are waited for, too. Then the rest is lost: it is counted as
    /// `failed`, its readers are told in-band, and its events are answered here. None: every delivery is readable.
    ///
    /// Readers are not waited for, and what a full ring keeps aside (`Overflow::LatestPerKey`) is lost as it is in
    /// [`Engine::close`]. What takes time beyond `patience` is matching the rest of the events, and a host's `Resolve`
    /// or `Waker` that runs on a shard just then. Called while the engine closes already, it bounds that.
    pub fn close_within(&self, patience: Duration) -> Vec<Undelivered> {
        self.0.close_within(patience)
    }

    /// Whether [`Engine::close`] or [`Engine::close_within`] was called.
    pub fn is_closed(&self) -> bool {
        self.0.plane.is_closed()
    }
}

impl Owner {
    fn close(&self) {
        self.plane.close(false);
        self.join();
    }

    fn close_within(&self, patience: Duration) -> Vec<Undelivered> {
        let deadline = Instant::now().checked_add(patience);
        self.plane.close(true);
        if let Some((left, deadline)) = self.left.get().zip(deadline) {
            // Nothing is ever sent: this ends when the threads have left, or at the deadline.
            _ = left.recv_deadline(deadline);
            self.plane.be_late();
        }
        self.join();
        self.plane.take_undelivered()
    }

    fn join(&self) {
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
            Self::RateLimited(_) => "RATE_LIMITED",
            Self::Forbidden { .. } => "FORBIDDEN_FIELD",
            Self::ForbiddenVariable { .. } => "FORBIDDEN_VARIABLE",
            Self::Closed => "ENGINE_CLOSED",
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(error) => error.fmt(f),
            Self::Policy(error) => error.fmt(f),
            Self::Access(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "no thread for a shard: {error}"),
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
            Self::RateLimited(whose) => {
                write!(f, "the {whose} registers subscriptions too often: come again later")
            }
            Self::Policy(error) => error.fmt(f),
            Self::Forbidden { field } => write!(f, "the field `{field}` may not be read: leave it out"),
            Self::ForbiddenVariable { variable } => {
                write!(f, "`{variable}` names another than you: leave it out")
            }
            Self::Closed => f.write_str("the engine is closed"),
        }
    }
}

impl std::error::Error for BuildError {}
impl std::error::Error for SubscribeError {}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("shards", &self.0.plane.inboxes().len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(coulis_loom)))]
mod carried;
#[cfg(all(test, not(coulis_loom)))]
mod resumes;
#[cfg(all(test, not(coulis_loom)))]
mod tests;
