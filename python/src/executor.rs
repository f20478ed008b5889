//! `SubscriptionExecutor`: the engine for programs that call and wait, from any thread.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use coulis::{
    cursor::{At, Cursor},
    engine::{BuildError, Engine, SubscribeRequest, Undelivered, Verdict},
    id::{Identity, Offset},
    metrics::{Module, ShardMetrics},
    notifier::Wake,
    overflow::Overflow,
    plan::{OperationName, Schema},
    policy::standard::{Isolation, Tenancy},
    security::{ChannelRules, Rules},
    subscriber::{Subscriber, SubscriberOptions},
};
use pyo3::{
    prelude::*,
    types::{IntoPyDict as _, PyBytes, PyDict, PyString, PyTuple},
};

use crate::{
    access, bus,
    config::EventBusConfig,
    context::SecurityContext,
    core::{Attributes, Core, Wish, open_error, security, subscribe_error},
    direct,
    endings::Inside,
    errors::{self, CoulisError, detached, guarded, value_error},
    forks::Native,
    lazy::intern,
    policy::rule_error,
    reader::{Lane, LoopReader},
    settings,
};

/// A subscriber of the direct API and what was drained from it and not asked for yet.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) subscriber: Subscriber,
    /// A gap notice comes in front of a message, so one frame may be two messages.
    waiting: VecDeque<Vec<u8>>,
}

impl Reading {
    fn take(&mut self, max: usize) -> Vec<Vec<u8>> {
        let Self { subscriber, waiting } = self;
        if waiting.len() < max {
            subscriber.drain(max - waiting.len(), |delivery| {
                let mut message = Vec::new();
                delivery.write_next(&mut message);
                waiting.push_back(message);
            });
        }
        waiting.drain(..waiting.len().min(max)).collect()
    }
}

/// Registers subscriptions, publishes events and hands out messages. Every method may be called from any thread.
///
/// Close it, or use it as a context manager; one that is dropped closes itself.
#[pyclass(frozen, weakref, module = "coulis")]
#[derive(Debug)]
pub(crate) struct SubscriptionExecutor {
    core: Native<Arc<Core>>,
    /// The bus it was made with.
    #[pyo3(get)]
    event_bus: Py<EventBusConfig>,
}

#[pymethods]
impl SubscriptionExecutor {
    /// Starts an engine. `limits` sets bounds by name, `tenancy` and `owner` say who sees what on all channels, and
    /// `channels` says it for single ones, as in `{"chat": {"owner": None, "tenancy": "strict", "policy": "event.open"}}`.
    /// `policies` are expressions by root field, which must hold beside those of the channels.
    ///
    /// With `introspection=False` documents that ask for the schema are refused (`INTROSPECTION_DISABLED`).
    /// `allowed_operations` are the only documents that may come, each given as its text or as the SHA-256 of its text
    /// in hexadecimal digits; others are refused (`OPERATION_NOT_ALLOWED`).
    ///
    /// `rates` bounds how often subscriptions may be registered, so many a second and so many at once, as in
    /// `{"user": (5, 20), "tenant": (100, 500), "connection": (2, 100)}`; who comes too often gets `RateLimited`.
    /// `delivery_rates` bounds in the same way how often messages may be delivered, for a `subscription`, too; what a rate
    /// withholds is told as a gap with the reason `rate`, and counted as `rate_limited`.
    ///
    /// `access` says who may read which field, as in `{"rules": {"users.email": {"roles": ["admin"]}}}`.
    ///
    /// A resolver that takes longer than `resolver_timeout` seconds is given up (`None`: never), one that takes longer
    /// than `slow_resolver` is told of in the log `coulis.resolvers`. With `debug=True` clients read what a resolver raised;
    /// without, only that of a `UserError`.
    #[new]
    #[pyo3(signature = (event_bus=None, *, schema=None, limits=None, shards=None, tenancy="permissive",
        owner=Some("user_id"), channels=None, policies=None, introspection=true, allowed_operations=None, access=None,
        rates=None, delivery_rates=None, declarations=None, debug=false, resolver_timeout=Some(30.0),
        slow_resolver=Some(1.0)),
        text_signature = "(event_bus=None, *, schema=None, limits=None, shards=None, tenancy='permissive', \
        owner='user_id', channels=None, policies=None, introspection=True, allowed_operations=None, access=None, \
        rates=None, delivery_rates=None, declarations=None, debug=False, resolver_timeout=30.0, slow_resolver=1.0)")]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        event_bus: Option<Py<EventBusConfig>>,
        schema: Option<&str>,
        limits: Option<&Bound<'_, PyAny>>,
        shards: Option<&Bound<'_, PyAny>>,
        tenancy: &str,
        owner: Option<&str>,
        channels: Option<&Bound<'_, PyAny>>,
        policies: Option<&Bound<'_, PyAny>>,
        introspection: bool,
        allowed_operations: Option<&Bound<'_, PyAny>>,
        access: Option<&Bound<'_, PyAny>>,
        rates: Option<&Bound<'_, PyAny>>,
        delivery_rates: Option<&Bound<'_, PyAny>>,
        declarations: Option<Py<PyAny>>,
        debug: bool,
        resolver_timeout: Option<f64>,
        slow_resolver: Option<f64>,
    ) -> PyResult<Self> {
        let _inside = Inside::enter()?;
        let asked = (debug, resolver_timeout, slow_resolver);
        let settings = py.import("coulis.resolvers")?.call_method1("Settings", asked)?.unbind();
        let event_bus = event_bus.map_or_else(|| Py::new(py, EventBusConfig::memory()), Ok)?;
        let mut builder = Engine::builder()
            .limits(settings::limits(limits)?)
            .schema(self::schema(py, schema)?)
            .introspection(introspection);
        if let Some(allowed) = allowed_operations {
            builder = builder.allowed_operations(settings::digests(allowed)?);
        }
        builder = builder.rules(rules(tenancy, owner, channels, policies)?);
        if let Some(rates) = rates {
            builder = builder.pace(settings::pace(rates)?);
        }
        if let Some(rates) = delivery_rates {
            builder = builder.delivery_rates(settings::delivery_rates(rates)?);
        }
        if let Some(access) = access {
            let (rules, scope) = access::access(py, access)?;
            builder = builder.access(rules).variable_scope(scope);
        }
        if let Some(shards) = shards {
            builder = builder.shards(settings::count("shards", shards)?);
        }
        let engine = detached(py, || builder.build())?.map_err(|error| build_error(py, &error))?;
        watch_process(py)?;
        let node = bus::connect(py, event_bus.get(), &engine)?;
        Ok(Self { core: Native::new(Core::start(engine, node, declarations, settings)), event_bus })
    }

    /// Registers a subscription and answers the given id. Every publish that starts afterwards is seen by it.
    ///
    /// `channel` is one name or several, or `"*"`; by default it is the root field's name. `events` are the event
    /// types to take, by default all. Without `resolver` the event's own data is shaped by the selection set. A
    /// resolver runs once for all subscriptions that get the same result, or once for each with
    /// `per_subscription=True`. `wake` is a `LoopReader` and a token that it names when messages are ready.
    ///
    /// `policy` and `filter` are expressions (CEL) on `event`, `before`, `ctx`, `args` and `vars`, or the same as a tree
    /// such as `{"eq": ["event.room", "vars.room"]}`; only events that both admit are delivered, beside the rules of the
    /// channel.
    ///
    /// `permitted`: the `permission_classes` of the declaration were asked, which the executor does not do.
    ///
    /// `resume` is the last cursor that was seen (`extensions.coulis.cursor` of a message), or `""` for the present
    /// position: the first message then tells whether all that was missed follows. `overflow` says what happens when
    /// too many messages wait: `"drop_oldest"` (the default), `"drop_newest"`, `"disconnect"` or
    /// `"latest_per_key(path)"`.
    ///
    /// Raises `InvalidQuery`, `AuthorizationFailed`, `AlreadyExists`, `LimitExceeded`, `PolicyError`, `EngineClosed`,
    /// and `TypeError` or `ValueError` for bad arguments.
    #[pyo3(signature = (connection_id, subscription_id, query, operation_name=None, variables=None, user_id=None,
        tenant_id=None, *, channel=None, events=None, resolver=None, per_subscription=false, filter=None,
        policy=None, context=None, resume=None, overflow=None, wake=None, permitted=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn register_subscription(
        &self,
        py: Python<'_>,
        connection_id: &str,
        subscription_id: String,
        query: String,
        operation_name: Option<String>,
        variables: Option<&Bound<'_, PyAny>>,
        user_id: Option<&Bound<'_, PyAny>>,
        tenant_id: Option<&Bound<'_, PyAny>>,
        channel: Option<&Bound<'_, PyAny>>,
        events: Option<&Bound<'_, PyAny>>,
        resolver: Option<Py<PyAny>>,
        per_subscription: bool,
        filter: Option<&Bound<'_, PyAny>>,
        policy: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, SecurityContext>>,
        resume: Option<&Bound<'_, PyAny>>,
        overflow: Option<&Bound<'_, PyAny>>,
        wake: Option<(Py<LoopReader>, u64)>,
        permitted: bool,
    ) -> PyResult<String> {
        let core = self.core.get()?;
        let request = SubscribeRequest {
            id: subscription_id.clone(),
            query,
            operation_name: operation_name.map_or(OperationName::Only, OperationName::Label),
            variables: core.variables(variables)?,
            context: security(context, user_id, tenant_id)?,
            channels: settings::words("channel", channel)?,
            events: settings::words("events", events)?,
            policies: settings::conditions("policy", policy)?,
            filters: settings::conditions("filter", filter)?,
            resolver: None,
            per_subscription,
            overflow: Overflow::default(),
            resume: resume.map(|cursor| settings::text("resume", cursor)).transpose()?,
        };
        let wake = wake.map(|(reader, token)| (Arc::clone(reader.get().lane()), token));
        let overflow = overflow.map(settings::overflow).transpose()?;
        let lane = wake.as_ref().map(|(lane, _)| Arc::clone(lane));
        let wish = Wish { request, resolver, overflow, lane, host: None, admitted: false, permitted };
        let place = core.direct.reserve(connection_id, &subscription_id)?;
        match register(py, core, wish, wake) {
            Ok(subscriber) => {
                let reading = Reading { subscriber, waiting: VecDeque::new() };
                *place.lock() = Some(reading);
                Ok(subscription_id)
            }
            Err(error) => {
                let _gone_if_closed = core.direct.remove(&subscription_id, Some(connection_id));
                Err(error)
            }
        }
    }

    /// Publishes and waits until every delivery is readable, except those of async resolvers; answers how many.
    ///
    /// `data` is a value, or JSON text as `bytes` or `str`. `tenant_id` and `user_id` outrank fields of the same
    /// meaning in the data. `before` is the data before the change that the event tells of, in the same forms;
    /// `federation_service` and `federation_id` say where it belongs in a federation of services. On a thread that runs resolvers it does not wait, and answers what is done so far.
    ///
    /// An event with an `event_id` is published once, however often that is asked for, from whichever process.
    ///
    /// With a bus it also waits until the bus has accepted the event, and for up to `publish_wait_max` until it came back.
    ///
    /// Raises `ValueError` and `TypeError` for bad data, `LimitExceeded`, `QueueFull` after `publish_wait_max`,
    /// `BusError` if the bus does not accept the event, and `EngineClosed`.
    #[pyo3(signature = (event_type, channel, data, *, tenant_id=None, user_id=None, before=None, federation_id=None,
        federation_service=None, event_id=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn publish_event(
        &self,
        py: Python<'_>,
        event_type: &str,
        channel: &str,
        data: &Bound<'_, PyAny>,
        tenant_id: Option<&Bound<'_, PyAny>>,
        user_id: Option<&Bound<'_, PyAny>>,
        before: Option<&Bound<'_, PyAny>>,
        federation_id: Option<&Bound<'_, PyAny>>,
        federation_service: Option<&Bound<'_, PyAny>>,
        event_id: Option<&str>,
    ) -> PyResult<u64> {
        let core = self.core.get()?;
        let attributes =
            Attributes { tenant_id, user_id, before, federation_id, federation_service, event_id };
        let event = core.event(event_type, channel, data, &attributes)?;
        core.publish(py, event)
    }

    /// Publishes without waiting for deliveries. Raises as `publish_event` does, and `QueueFull` at once.
    #[pyo3(signature = (event_type, channel, data, *, tenant_id=None, user_id=None, before=None, federation_id=None,
        federation_service=None, event_id=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn publish_nowait(
        &self,
        py: Python<'_>,
        event_type: &str,
        channel: &str,
        data: &Bound<'_, PyAny>,
        tenant_id: Option<&Bound<'_, PyAny>>,
        user_id: Option<&Bound<'_, PyAny>>,
        before: Option<&Bound<'_, PyAny>>,
        federation_id: Option<&Bound<'_, PyAny>>,
        federation_service: Option<&Bound<'_, PyAny>>,
        event_id: Option<&str>,
    ) -> PyResult<()> {
        let core = self.core.get()?;
        let attributes =
            Attributes { tenant_id, user_id, before, federation_id, federation_service, event_id };
        let event = core.event(event_type, channel, data, &attributes)?;
        core.publish_nowait(py, event)
    }

    /// Publishes `(event_type, channel, data)` triples, in order, and waits for all; answers each one's deliveries.
    /// One with a fourth part, its `before`, has that in place of the keyword's.
    ///
    /// All of them are published or none: bad data, or no room for all, publishes nothing.
    #[pyo3(signature = (events, *, tenant_id=None, user_id=None, before=None, federation_id=None,
        federation_service=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn publish_many(
        &self,
        py: Python<'_>,
        events: &Bound<'_, PyAny>,
        tenant_id: Option<&Bound<'_, PyAny>>,
        user_id: Option<&Bound<'_, PyAny>>,
        before: Option<&Bound<'_, PyAny>>,
        federation_id: Option<&Bound<'_, PyAny>>,
        federation_service: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<u64>> {
        let core = self.core.get()?;
        let max = core.engine.limits().publish_many_max;
        let mut ready = Vec::new();
        let inside = Inside::enter()?;
        for event in events.try_iter()? {
            let (event_type, channel, data, own) = parts(&event?)?;
            coulis::error::LimitExceeded::check("publish_many_max", ready.len() + 1, max)
                .map_err(|limit| errors::limit(py, &limit))?;
            let (before, event_id) = (own.as_ref().or(before), None);
            let attributes =
                Attributes { tenant_id, user_id, before, federation_id, federation_service, event_id };
            ready.push(core.event(&event_type, &channel, &data, &attributes)?);
        }
        drop(inside);
        core.publish_many(py, ready)
    }

    /// The next message of a subscription as JSON text, or `None`. Never waits.
    ///
    /// Raises `SubscriptionNotFound` for an unknown or completed subscription, and `ValueError` if several
    /// connections use the id and none is named.
    #[pyo3(signature = (subscription_id, connection_id=None))]
    fn next_event<'py>(
        &self,
        py: Python<'py>,
        subscription_id: &str,
        connection_id: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let messages = self.take(subscription_id, connection_id, 1)?;
        Ok(messages.first().map(|message| PyBytes::new(py, message)))
    }

    /// Up to `max_events` messages of a subscription, oldest first. Raises as `next_event` does.
    #[pyo3(signature = (subscription_id, max_events=256, connection_id=None))]
    fn next_events<'py>(
        &self,
        py: Python<'py>,
        subscription_id: &str,
        max_events: usize,
        connection_id: Option<&str>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let messages = self.take(subscription_id, connection_id, max_events)?;
        Ok(messages.iter().map(|message| PyBytes::new(py, message)).collect())
    }

    /// Ends a subscription and frees all it holds; nothing is delivered afterwards. Safe to repeat.
    #[pyo3(signature = (subscription_id, connection_id=None))]
    fn complete_subscription(
        &self,
        py: Python<'_>,
        subscription_id: &str,
        connection_id: Option<&str>,
    ) -> PyResult<()> {
        match self.core.get()?.direct.remove(subscription_id, connection_id) {
            Ok(place) => {
                let reading = place.lock().take();
                detached(py, || drop(reading))
            }
            Err(error) if error.is_instance_of::<errors::SubscriptionNotFound>(py) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The ids of the subscriptions on a channel.
    fn subscriptions_by_channel(&self, py: Python<'_>, channel: &str) -> PyResult<Vec<String>> {
        let core = self.core.get()?;
        detached(py, || core.engine.subscriptions_by_channel(channel))
    }

    /// The root field of a document's operation, by its name in the schema. Raises `InvalidQuery`.
    #[pyo3(signature = (query, operation_name=None))]
    fn root_field(&self, py: Python<'_>, query: &str, operation_name: Option<String>) -> PyResult<String> {
        let core = self.core.get()?;
        let name = operation_name.map_or(OperationName::Only, OperationName::Label);
        detached(py, || core.engine.plan(query, &name))?
            .map(|plan| plan.root_field().to_owned())
            .map_err(|list| errors::invalid_query(py, &list))
    }

    /// The variables of a subscription with its document's defaults, and the arguments of its root field: two dicts. Raises
    /// `InvalidQuery`.
    #[pyo3(signature = (query, operation_name=None, variables=None))]
    fn bind<'py>(
        &self,
        py: Python<'py>,
        query: &str,
        operation_name: Option<String>,
        variables: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let core = self.core.get()?;
        let name = operation_name.map_or(OperationName::Only, OperationName::Label);
        let given = core.variables(variables)?;
        let bound = detached(py, || {
            let plan = core.engine.plan(query, &name)?;
            let bound = plan.bind(&given, core.engine.limits())?;
            Ok((plan.arguments(&bound.variables), bound.variables))
        })?;
        let (arguments, variables) = bound.map_err(|list: Vec<_>| errors::invalid_query(py, &list))?;
        Ok((crate::decode::tree(py, &variables)?, crate::decode::tree(py, &arguments)?))
    }

    /// Replaces the row policies of the executor, all of them: the arguments are those of its constructor. Live
    /// subscriptions are judged by the new ones from the next event on; one that cannot be any more ends with the code
    /// `POLICY_REFUSED`. Answers how many end.
    ///
    /// Raises `PolicyError` for what does not compile; then the old ones stay.
    #[pyo3(signature = (*, tenancy="permissive", owner=Some("user_id"), channels=None, policies=None),
        text_signature = "($self, *, tenancy='permissive', owner='user_id', channels=None, policies=None)")]
    fn reload_policies(
        &self,
        py: Python<'_>,
        tenancy: &str,
        owner: Option<&str>,
        channels: Option<&Bound<'_, PyAny>>,
        policies: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let core = self.core.get()?;
        let rules = rules(tenancy, owner, channels, policies)?;
        detached(py, || core.engine.reload(rules))?.map_err(|error| rule_error(py, &error))
    }

    /// Replaces the schema, in the schema definition language; `None`: there is none from now on. Documents of live
    /// subscriptions are held against it: where they mean what they did nothing changes, and nothing is lost by that; one
    /// that is no longer valid ends with the code `SCHEMA_CHANGED`. Answers how many end.
    ///
    /// Raises `ValueError` for what is no schema, or one that the rules of `access` do not fit; then the old one stays.
    #[pyo3(signature = (sdl))]
    fn reload_schema(&self, py: Python<'_>, sdl: Option<&str>) -> PyResult<usize> {
        let (core, schema) = (self.core.get()?, self::schema(py, sdl)?);
        detached(py, || core.engine.reload_schema(schema))?.map_err(|error| access::refused(&error))
    }

    /// Has the subscriptions of a connection judged for another context, as after a new token: what it may not see any
    /// more does not come from the next event on, and a subscription that it may not have ends. Answers how many end.
    ///
    /// O(subscriptions). Raises `SubscriptionNotFound` if the connection has none.
    #[pyo3(signature = (connection_id, user_id=None, tenant_id=None, *, context=None),
        text_signature = "($self, connection_id, user_id=None, tenant_id=None, *, context=None)")]
    fn refresh(
        &self,
        py: Python<'_>,
        connection_id: &str,
        user_id: Option<&Bound<'_, PyAny>>,
        tenant_id: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, SecurityContext>>,
    ) -> PyResult<usize> {
        let (core, context) = (self.core.get()?, security(context, user_id, tenant_id)?);
        let places = core.direct.of(connection_id)?;
        detached(py, || {
            let refresh = |place: &direct::Place| {
                let mut reading = place.lock();
                reading.as_mut().map_or(0, |reading| reading.subscriber.refresh(context.clone()))
            };
            places.iter().map(refresh).sum()
        })
    }

    /// Ends the subscriptions of a user, a tenant, or of a user in a tenant, at once: nothing is delivered to them any
    /// more. Answers how many there were. Raises `ValueError` if neither is given.
    #[pyo3(signature = (user_id=None, tenant_id=None))]
    fn revoke(
        &self,
        py: Python<'_>,
        user_id: Option<&Bound<'_, PyAny>>,
        tenant_id: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let core = self.core.get()?;
        let who = security(None, user_id, tenant_id)?;
        if who.user.is_none() && who.tenant.is_none() {
            return Err(value_error("`revoke` ends nobody's subscriptions: pass user_id, tenant_id or both"));
        }
        let is = |wanted: &Option<Identity>, found: &Option<Identity>| wanted.is_none() || wanted == found;
        detached(py, || {
            core.engine.revoke(|context| is(&who.user, &context.user) && is(&who.tenant, &context.tenant))
        })
    }

    /// What becomes of an event for a subscription, without publishing it: a dict with `step`, the step of its way that
    /// decides (`"delivered"`, `"tombstone"`, `"policy"`, `"event_type"`, `"channel"`, `"breaker"`, `"rate"`, `"ring"`),
    /// `message`, for a policy `rule`, `line` and `column` of the clause, for a rate `of` (whose it is), and for a full ring
    /// `waiting` (frames) and `overflow` (what happens then). No token of a rate is taken.
    ///
    /// The event is given as to `publish_event`. Raises as that does, and `SubscriptionNotFound`.
    #[pyo3(signature = (subscription_id, event_type, channel, data, *, connection_id=None, tenant_id=None, user_id=None,
        before=None, federation_id=None, federation_service=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        subscription_id: &str,
        event_type: &str,
        channel: &str,
        data: &Bound<'_, PyAny>,
        connection_id: Option<&str>,
        tenant_id: Option<&Bound<'_, PyAny>>,
        user_id: Option<&Bound<'_, PyAny>>,
        before: Option<&Bound<'_, PyAny>>,
        federation_id: Option<&Bound<'_, PyAny>>,
        federation_service: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let core = self.core.get()?;
        let attributes =
            Attributes { tenant_id, user_id, before, federation_id, federation_service, event_id: None };
        let event = core.event(event_type, channel, data, &attributes)?;
        explained(py, core, subscription_id, connection_id, |reader| {
            Ok(core.engine.explain(subscription_id, reader, &event))
        })
    }

    /// The same as `explain` for an event that was published and that the log of its channel keeps. `at`: the cursor of its
    /// result, or its offset.
    ///
    /// Raises `CoulisError` if the log does not have it: `trimmed`, not published yet (`future`), or a cursor of another
    /// channel (`cursor`) or of a log that is gone (`epoch`); `ValueError` for a text that is no cursor, and
    /// `SubscriptionNotFound`.
    #[pyo3(signature = (subscription_id, channel, at, *, connection_id=None))]
    fn explain_recorded<'py>(
        &self,
        py: Python<'py>,
        subscription_id: &str,
        channel: &str,
        at: &Bound<'_, PyAny>,
        connection_id: Option<&str>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let core = self.core.get()?;
        let at = if let Ok(text) = at.cast::<PyString>() {
            let cursor = text.to_str()?.parse::<Cursor>();
            At::Cursor(cursor.map_err(|_| value_error(format!("`at` is `{text}`: pass a result's cursor")))?)
        } else {
            At::Offset(Offset(at.extract()?))
        };
        explained(py, core, subscription_id, connection_id, |reader| {
            core.engine.explain_recorded(subscription_id, reader, channel, at).map_err(|reload| {
                CoulisError::new_err(format!("the log of `{channel}` does not have that event: {reload}"))
            })
        })
    }

    /// The engine's counters by name.
    fn get_metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metrics = PyDict::new(py);
        let engine = &self.core.get()?.engine;
        let found = engine.metrics();
        for (name, value) in found.rows() {
            metrics.set_item(name, value)?;
        }
        let modules = PyDict::new(py);
        for module in Module::ALL {
            modules.set_item(module.name(), found.decided(module).rows().into_py_dict(py)?)?;
        }
        metrics.set_item("modules", modules)?;
        let shards = engine.shard_metrics();
        let shards =
            shards.iter().map(|shard| shard.rows().into_py_dict(py)).collect::<PyResult<Vec<_>>>()?;
        metrics.set_item("shards", shards)?;
        Ok(metrics)
    }

    /// How the bus is, by name; `None` where events stay in this process.
    fn health<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(node) = &self.core.get()?.node else { return Ok(None) };
        let health = detached(py, || node.health())?;
        let told = PyDict::new(py);
        told.set_item("connected", health.connected)?;
        told.set_item("error", &health.error)?;
        told.set_item("held_back", health.held_back.map(|held| held.as_secs_f64()))?;
        for (name, value) in health.counts() {
            told.set_item(name, value)?;
        }
        Ok(Some(told))
    }

    /// Whether it was closed, or belongs to the process that this one was forked from.
    #[getter]
    fn is_closed(&self) -> bool {
        self.core.get().map_or(true, |core| core.engine.is_closed())
    }

    /// The engine's counters in the text format of Prometheus.
    fn prometheus(&self) -> PyResult<String> {
        let engine = &self.core.get()?.engine;
        Ok(engine.metrics().prometheus() + &ShardMetrics::prometheus(&engine.shard_metrics()))
    }

    /// Delivers what was accepted, ends all subscriptions and stops the threads. Safe to repeat.
    ///
    /// With `timeout` also async resolvers are waited for, up to so many seconds; then the rest is lost, and its readers
    /// are told. Answers the events that were not delivered to all: a list of dicts with `event_type`, `channel`, `data`
    /// as JSON text, `offset` and the number of `deliveries` that are lost.
    #[pyo3(signature = (timeout=None))]
    fn close<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let patience = timeout.map(|timeout| settings::seconds("timeout", timeout)).transpose()?;
        // A forked child has nothing to stop.
        let Ok(core) = self.core.get() else { return Ok(Vec::new()) };
        core.close(py, patience)?.iter().map(|one| undelivered(py, one)).collect()
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py, None).map(drop)
    }
}

impl SubscriptionExecutor {
    pub(crate) fn core(&self) -> PyResult<&Arc<Core>> {
        self.core.get()
    }

    fn take(&self, subscription: &str, connection: Option<&str>, max: usize) -> PyResult<Vec<Vec<u8>>> {
        let place = self.core.get()?.direct.find(subscription, connection)?;
        let mut reading = place.lock();
        let reading = reading.as_mut().ok_or_else(|| direct::not_found(subscription))?;
        // Ended by its overflow policy, and everything was read.
        if reading.waiting.is_empty() && reading.subscriber.is_empty() {
            return Err(direct::not_found(subscription));
        }
        guarded(|| reading.take(max))
    }
}

fn undelivered<'py>(py: Python<'py>, one: &Undelivered) -> PyResult<Bound<'py, PyDict>> {
    let (told, event) = (PyDict::new(py), one.event());
    told.set_item("event_type", event.event_type())?;
    told.set_item("channel", event.channel())?;
    told.set_item("data", PyBytes::new(py, event.document().text().as_bytes()))?;
    told.set_item("offset", one.offset().0)?;
    told.set_item("deliveries", one.deliveries())?;
    Ok(told)
}

fn register(py: Python<'_>, core: &Core, wish: Wish, wake: Option<(Arc<Lane>, u64)>) -> PyResult<Subscriber> {
    let wake = wake.map_or(Wake::Polling, |(lane, token)| Wake::Mailbox(Arc::clone(&lane.mailbox), token));
    let options = SubscriberOptions { wake, ring_frames_max: None };
    let mut subscriber =
        detached(py, || core.engine.open(options))?.map_err(|error| open_error(py, &error))?;
    core.subscribe(py, &mut subscriber, wish)?.map_err(|error| subscribe_error(py, error))?;
    Ok(subscriber)
}

/// One event of a batch: type, channel, data, and the data before the change where there is a fourth part.
type Parts<'py> = (String, String, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

fn parts<'py>(event: &Bound<'py, PyAny>) -> PyResult<Parts<'py>> {
    if event.len().is_ok_and(|len| len == 4) {
        return event.extract();
    }
    let (event_type, channel, data) = event.extract()?;
    Ok((event_type, channel, data, None))
}

fn isolation(tenancy: &str, owner: Option<&str>) -> PyResult<Isolation> {
    let tenancy = match tenancy {
        "permissive" => Tenancy::Permissive,
        "strict" => Tenancy::Strict,
        other => {
            let other: String = other.chars().take(64).collect();
            return Err(value_error(format!("`tenancy` is `{other}`: pass \"permissive\" or \"strict\"")));
        }
    };
    if owner == Some("") {
        return Err(value_error("`owner` is empty: pass a field's name, or None for no owner rule"));
    }
    Ok(Isolation { tenancy, owner: owner.map(Into::into), ..Isolation::default() })
}

/// The row policies of an executor.
fn rules(
    tenancy: &str,
    owner: Option<&str>,
    channels: Option<&Bound<'_, PyAny>>,
    policies: Option<&Bound<'_, PyAny>>,
) -> PyResult<Rules> {
    let default = isolation(tenancy, owner)?;
    let channels = settings::pairs("channels", channels)?
        .into_iter()
        .map(|(name, rules)| Ok((name, channel_rules(&default, &rules)?)))
        .collect::<PyResult<_>>()?;
    let mut fields = HashMap::new();
    for (name, policy) in settings::pairs("policies", policies)? {
        fields.extend(settings::condition("policies", &policy)?.map(|policy| (name, policy)));
    }
    Ok(Rules { default: default.into(), channels, fields })
}

/// The rules of one channel; what they leave out is as on all channels.
fn channel_rules(default: &Isolation, rules: &Bound<'_, PyAny>) -> PyResult<ChannelRules> {
    let (mut own, mut policy) = (default.clone(), None);
    for (name, value) in settings::pairs("channels", Some(rules))? {
        match name.as_str() {
            "tenancy" => own.tenancy = isolation(&settings::text("tenancy", &value)?, None)?.tenancy,
            "owner" if value.is_none() => own.owner = None,
            "owner" => own.owner = isolation("strict", Some(&settings::text("owner", &value)?))?.owner,
            "policy" => policy = settings::condition("policy", &value)?,
            _ => {
                return Err(value_error(
                    "`channels` has rules beside `tenancy`, `owner` and `policy`: leave them out",
                ));
            }
        }
    }
    Ok(ChannelRules { isolation: own, policy })
}

fn schema(py: Python<'_>, text: Option<&str>) -> PyResult<Option<Schema>> {
    let Some(text) = text else { return Ok(None) };
    detached(py, || Schema::parse(text))?.map(Some).map_err(|list| schema_error(&list))
}

pub(crate) fn schema_error(errors: &[coulis::error::GraphQlError]) -> PyErr {
    let reasons = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    value_error(format!("`schema` is no valid schema: {reasons}"))
}

fn build_error(py: Python<'_>, error: &BuildError) -> PyErr {
    match error {
        BuildError::Limit(limit) => errors::limit(py, limit),
        BuildError::Access(error) => access::refused(error),
        BuildError::Policy(error) => rule_error(py, error),
        BuildError::Thread(_) => CoulisError::new_err(error.to_string()),
    }
}

/// Has the process tell when it ends and when it is forked, once.
fn watch_process(py: Python<'_>) -> PyResult<()> {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let native = py.import(intern!(py, "coulis._coulis"))?;
    py.import("atexit")?.call_method1("register", (native.getattr("end")?,))?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let child = PyDict::new(py);
        child.set_item("after_in_child", native.getattr("forked")?)?;
        os.call_method("register_at_fork", (), Some(&child))?;
    }
    WATCHED.store(true, Ordering::Relaxed);
    Ok(())
}

/// What `explain` answers of a subscription, as a dict; the shards that it waits for may need the interpreter.
fn explained<'py>(
    py: Python<'py>,
    core: &Core,
    id: &str,
    connection: Option<&str>,
    explain: impl Fn(Option<&Subscriber>) -> PyResult<Verdict> + Send + Sync,
) -> PyResult<Bound<'py, PyDict>> {
    let verdict = match core.direct.find(id, connection) {
        Ok(place) => detached(py, || {
            let reading = place.lock();
            explain(reading.as_ref().map(|reading| &reading.subscriber))
        })??,
        // A subscription of a connection.
        Err(_) if connection.is_none() => detached(py, || explain(None))??,
        Err(error) => return Err(error),
    };
    if verdict == Verdict::NotFound {
        return Err(direct::not_found(id));
    }
    let told = PyDict::new(py);
    told.set_item("step", verdict.step())?;
    told.set_item("message", verdict.to_string())?;
    match &verdict {
        Verdict::Denied { rule, at, .. } => {
            told.set_item("rule", &**rule)?;
            let place = (at.line > 0).then_some(at);
            told.set_item("line", place.map(|at| at.line))?;
            told.set_item("column", place.map(|at| at.column))?;
        }
        Verdict::Rate(of) => told.set_item("of", *of)?,
        Verdict::Ring { waiting, overflow } => {
            told.set_item("waiting", *waiting)?;
            told.set_item("overflow", overflow.to_string())?;
        }
        _ => {}
    }
    Ok(told)
}
