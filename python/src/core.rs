//! What an executor owns, shared with the sessions and loops that use it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use coulis::{
    engine::{
        Engine, OpenError, PublishError, PublishManyError, SubscribeError, SubscribeRequest, Undelivered,
    },
    event::{Event, EventError, Federation},
    overflow::Overflow,
    security::{Condition, SecurityContext},
    subscriber::Subscriber,
    value::Value,
};
use coulis_adapters::node::Node;
use pyo3::prelude::*;

use crate::{
    declarations::{Declarations, Declared},
    decode,
    direct::Direct,
    encode::{self, Bounds},
    errors::{
        self, AlreadyExists, BusError, EngineClosed, QueueFull, RateLimited, detached, detached_if_long,
        value_error,
    },
    identity::identity,
    lock::Lock,
    policy::rule_error,
    publishing::Published,
    reader::Lane,
    resolver::{Resolvers, Wanted},
};

/// The channel that subscriptions are on whose results the host makes; no event is admitted to them.
const GENERATED: &str = "coulis.generated";
/// How long a closing executor waits for its bus to take what is buffered.
const BUS_CLOSE_MAX: Duration = Duration::from_secs(5);

/// The engine and what belongs to Python beside it.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) engine: Engine,
    /// The bus that the engine follows.
    pub(crate) node: Option<Node>,
    pub(crate) published: Lock<Published>,
    pub(crate) direct: Direct,
    pub(crate) resolvers: Resolvers,
    pub(crate) declarations: Declarations,
}

/// All executors of the process, closed before the interpreter ends: their threads must not meet its end.
static LIVING: Lock<Vec<Weak<Core>>> = Lock::new(Vec::new());

/// Called when the interpreter ends.
pub(crate) fn close_all(py: Python<'_>) -> PyResult<()> {
    let living = std::mem::take(&mut *LIVING.lock());
    living.iter().filter_map(Weak::upgrade).try_for_each(|core| core.close(py, None).map(drop))
}

/// Called by `os.register_at_fork` in the child: the parent's executors are not the child's.
pub(crate) fn forget_all() {
    std::mem::take(&mut *LIVING.lock()).into_iter().for_each(drop);
}

/// What a subscription asks for, before the declaration of its root field is looked up.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) request: SubscribeRequest,
    pub(crate) resolver: Option<Py<PyAny>>,
    pub(crate) overflow: Option<Overflow>,
    pub(crate) lane: Option<Arc<Lane>>,
    /// The host's object of the connection.
    pub(crate) host: Option<Py<PyAny>>,
    /// The engine has let it in already (`Engine::admit`).
    pub(crate) admitted: bool,
    /// The host was asked, where the declaration wants that.
    pub(crate) permitted: bool,
}

/// What a publish says of an event beside its data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a, 'py> {
    pub(crate) tenant_id: Option<&'a Bound<'py, PyAny>>,
    pub(crate) user_id: Option<&'a Bound<'py, PyAny>>,
    /// The document before the change.
    pub(crate) before: Option<&'a Bound<'py, PyAny>>,
    pub(crate) federation_id: Option<&'a Bound<'py, PyAny>>,
    pub(crate) federation_service: Option<&'a Bound<'py, PyAny>>,
    /// The event's own name.
    pub(crate) event_id: Option<&'a str>,
}

impl Core {
    pub(crate) fn start(
        engine: Engine,
        node: Option<Node>,
        declarations: Option<Py<PyAny>>,
        settings: Py<PyAny>,
    ) -> Arc<Self> {
        let core = Arc::new(Self {
            resolvers: Resolvers::new(Bounds::event(engine.limits()), settings),
            engine,
            node,
            published: Lock::default(),
            direct: Direct::default(),
            declarations: Declarations::new(declarations),
        });
        let mut living = LIVING.lock();
        living.retain(|core| core.strong_count() > 0);
        living.push(Arc::downgrade(&core));
        core
    }

    /// Ends all subscriptions of the direct API, stops the threads and lets go of all Python objects, which may know
    /// the executor. Safe to repeat. Answers what was not delivered within `patience`.
    pub(crate) fn close(&self, py: Python<'_>, patience: Option<Duration>) -> PyResult<Vec<Undelivered>> {
        let refused = || self.node.as_ref().map_or(0, |node| node.health().refused);
        let (undelivered, unsent) = detached(py, || {
            let before = refused();
            if let Some(node) = &self.node {
                node.close_bus(patience.unwrap_or(BUS_CLOSE_MAX));
            }
            let unsent = refused() - before;
            let undelivered = patience.map(|patience| self.engine.close_within(patience));
            self.engine.close();
            self.resolvers.close();
            for place in self.direct.clear() {
                let reading = place.lock().take();
                drop(reading);
            }
            (undelivered.unwrap_or_default(), unsent)
        })?;
        if unsent > 0 {
            let told =
                format!("{unsent} events of publish_nowait did not reach the bus before it was closed");
            errors::complain(py, "coulis.bus", &told);
        }
        self.resolvers.let_go();
        self.declarations.let_go();
        Ok(undelivered)
    }

    /// The event that the arguments of a publish describe.
    pub(crate) fn event(
        &self,
        event_type: &str,
        channel: &str,
        data: &Bound<'_, PyAny>,
        attributes: &Attributes<'_, '_>,
    ) -> PyResult<Event> {
        for (name, text) in [("event_type", event_type), ("channel", channel)] {
            if text.is_empty() {
                return Err(value_error(format!("{name} cannot be empty")));
            }
        }
        let py = data.py();
        let Attributes { tenant_id, user_id, before, federation_id, federation_service, event_id } =
            *attributes;
        let (tenant, user) = (identity("tenant_id", tenant_id)?, identity("user_id", user_id)?);
        let federation = Federation {
            service: identity("federation_service", federation_service)?,
            id: identity("federation_id", federation_id)?,
        };
        let document = self.document("data", data)?;
        let before = before.filter(|before| !before.is_none());
        let before = before.map(|before| self.document("before", before)).transpose()?;
        let limits = self.engine.limits();
        let bytes = document.len() + before.as_ref().map_or(0, Vec::len);
        detached_if_long(py, bytes, || {
            let event = Event::new(event_type, channel, document, limits).map_err(|error| ("data", error))?;
            let mut event = event.with_tenant(tenant).with_user(user).with_federation(federation);
            if let Some(id) = event_id {
                event = event.with_id(id, limits).map_err(|error| ("event_id", error))?;
            }
            match before {
                Some(before) => event.with_before(before, limits).map_err(|error| ("before", error)),
                None => Ok(event),
            }
        })?
        .map_err(|(name, error)| event_error(py, name, error))
    }

    /// The JSON text of a value, or the one that it is.
    fn document(&self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        match decode::json_bytes(name, value)? {
            Some(text) => Ok(text),
            None => encode::encode(name, value, Bounds::event(self.engine.limits())),
        }
    }

    /// Registers a subscription with `subscriber`, after the declaration of its root field filled what the wish
    /// left open.
    pub(crate) fn subscribe(
        &self,
        py: Python<'_>,
        subscriber: &mut Subscriber,
        wish: Wish,
    ) -> PyResult<Result<(), SubscribeError>> {
        let Wish { mut request, resolver, overflow, lane, host, admitted, permitted } = wish;
        let planned = detached(py, || self.engine.plan(&request.query, &request.operation_name))?;
        let plan = if admitted {
            planned.map_err(SubscribeError::InvalidQuery)
        } else {
            self.engine.admit(subscriber, &request.context, planned)
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(error)),
        };
        let declared = self.declarations.get(py, plan.root_field())?;
        if !permitted && (declared.guarded || declared.generates) {
            return Err(not_asked(py, plan.root_field(), declared.generates));
        }
        request.overflow = overflow.unwrap_or_else(|| declared.overflow.clone());
        let timeout = declared.timeout;
        if declared.generates {
            request = anchor(request);
        }
        let resolver = fill(&mut request, resolver, declared);
        if let Some(callable) = resolver {
            let callable = callable.bind(py);
            let wanted = Wanted { callable, lane: lane.as_ref(), context: host.as_ref(), timeout };
            request.resolver = Some(self.resolvers.callback(wanted)?);
        }
        detached(py, || self.engine.subscribe(subscriber, request))
    }

    /// The variables of a subscription, read by the rules of values.
    pub(crate) fn variables(&self, given: Option<&Bound<'_, PyAny>>) -> PyResult<Value> {
        let limits = self.engine.limits();
        let Some(given) = given.filter(|given| !given.is_none()) else { return Ok(Value::Null) };
        let mut text = encode::encode("variables", given, Bounds::variables(limits))?;
        Value::parse(&mut text, limits.message_depth_max)
            .map_err(|error| value_error(format!("`variables` is refused: {error}")))
    }
}

/// A subscription to nothing, for one whose results the host makes: so it is counted, bounded, judged anew and revoked
/// as any other.
fn anchor(request: SubscribeRequest) -> SubscribeRequest {
    let (channels, policies) = (vec![GENERATED.to_owned()], vec![Condition::from("false")]);
    SubscribeRequest { channels, policies, resume: None, resolver: None, ..request }
}

fn not_asked(py: Python<'_>, field: &str, generates: bool) -> PyErr {
    let how = if generates { "is an async generator" } else { "has `permission_classes`" };
    let message = format!("`{field}` {how}: it is served by `SubscriptionApp`");
    errors::forbidden(py, "FORBIDDEN", &message)
}

/// What the caller gave goes before what was declared; the declared resolver brings its own sharing along.
fn fill(request: &mut SubscribeRequest, given: Option<Py<PyAny>>, declared: Declared) -> Option<Py<PyAny>> {
    if request.channels.is_empty() {
        request.channels = declared.channels;
    }
    if request.events.is_empty() {
        request.events = declared.events;
    }
    // What was declared holds whatever the caller adds.
    request.policies.extend(declared.policies);
    request.filters.extend(declared.filters);
    given.or_else(|| {
        request.per_subscription |= declared.per_subscription;
        declared.resolver
    })
}

/// Who subscribes: a context, or two ids.
pub(crate) fn security(
    context: Option<&Bound<'_, crate::context::SecurityContext>>,
    user_id: Option<&Bound<'_, PyAny>>,
    tenant_id: Option<&Bound<'_, PyAny>>,
) -> PyResult<SecurityContext> {
    let (user, tenant) = (identity("user_id", user_id)?, identity("tenant_id", tenant_id)?);
    match context {
        Some(_) if user.is_some() || tenant.is_some() => {
            Err(value_error("`context` comes with `user_id` or `tenant_id`: pass one or the other"))
        }
        Some(context) => Ok(context.get().security().clone()),
        None => Ok(SecurityContext::new(user, tenant)),
    }
}

fn event_error(py: Python<'_>, name: &str, error: EventError) -> PyErr {
    match error {
        EventError::Limit(limit) => errors::limit(py, &limit),
        EventError::Empty(_) => value_error(error.to_string()),
        EventError::Document(error) => value_error(format!("`{name}` is refused: {error}")),
    }
}

pub(crate) fn publish_error(py: Python<'_>, error: PublishError) -> PyErr {
    match error {
        PublishError::Full(_) => QueueFull::new_err(error.to_string()),
        PublishError::Limit(limit) => errors::limit(py, &limit),
        PublishError::Wildcard => value_error(error.to_string()),
        PublishError::Follows => BusError::new_err(error.to_string()),
        PublishError::Closed => closed(),
    }
}

pub(crate) fn publish_many_error(py: Python<'_>, error: &PublishManyError) -> PyErr {
    match error {
        PublishManyError::Full(_) => QueueFull::new_err(error.to_string()),
        PublishManyError::Limit(limit) => errors::limit(py, limit),
        PublishManyError::Wildcard => value_error(error.to_string()),
        PublishManyError::Follows => BusError::new_err(error.to_string()),
        PublishManyError::Closed => closed(),
    }
}

pub(crate) fn open_error(py: Python<'_>, error: &OpenError) -> PyErr {
    match error {
        OpenError::Limit(limit) => errors::limit(py, limit),
        OpenError::Closed => closed(),
    }
}

pub(crate) fn subscribe_error(py: Python<'_>, error: SubscribeError) -> PyErr {
    match error {
        SubscribeError::InvalidQuery(list) => errors::invalid_query(py, &list),
        SubscribeError::AlreadyExists(_) => AlreadyExists::new_err(error.to_string()),
        SubscribeError::Limit(limit) => errors::limit(py, &limit),
        SubscribeError::InvalidArgument(..) => value_error(error.to_string()),
        SubscribeError::Policy(error) => rule_error(py, &error),
        SubscribeError::Forbidden { .. } | SubscribeError::ForbiddenVariable { .. } => {
            errors::forbidden(py, error.code(), &error.to_string())
        }
        SubscribeError::RateLimited(_) => RateLimited::new_err(error.to_string()),
        SubscribeError::Closed => closed(),
    }
}

pub(crate) fn closed() -> PyErr {
    EngineClosed::new_err("the executor is closed: make another one")
}
