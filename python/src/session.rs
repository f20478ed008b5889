//! `Session`: one connection of graphql-transport-ws, joined to the engine.
//!
//! The state machine of the engine knows the protocol, its subscriber holds the messages; this joins the two, so
//! that Python only moves text between a socket and here.

mod hosted;

use std::sync::Arc;

use coulis::{
    engine::SubscribeRequest,
    error::GraphQlError,
    metrics::Ruling,
    notifier::Wake,
    protocol::{self, Action, Close, CloseCode, Dialect, Machine, Message, Subscribe},
    security,
    subscriber::{Content, Gap, GapReason, Subscriber, SubscriberOptions},
    value::Value,
};
use pyo3::{
    intern,
    prelude::*,
    types::{PyString, PyTuple},
};

use crate::{
    context::SecurityContext,
    core::{Core, Wish, open_error},
    decode,
    errors::{self, detached, detached_if_long, guarded},
    executor::SubscriptionExecutor,
    forks::Native,
    lock::Lock,
    operation::Operation,
    reader::{Lane, LoopReader},
};
use hosted::Hosted;

/// One connection of graphql-transport-ws, or of the older protocol. Feed it what the client sends and what becomes of authentication and
/// timers; after each call write what `take` hands out, and close as the call asks.
///
/// Use it in the thread of its reader's loop.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct Session(Lock<Option<Native<Connection>>>);

#[derive(Debug)]
struct Connection {
    machine: Machine,
    subscriber: Subscriber,
    core: Arc<Core>,
    lane: Arc<Lane>,
    context: security::SecurityContext,
    hosted: Hosted,
    /// The engine ended the connection.
    closing: Option<Close>,
    /// Results lost because the client reads too slowly, since `losses` was asked.
    lost: u64,
}

/// What a call asks of the socket's owner: `("authenticate", payload)`, `("operation", operation)`, `("complete",
/// operation)`, `("close", code, reason)` or nothing.
type Asked<'py> = Option<Bound<'py, PyTuple>>;

#[pymethods]
impl Session {
    /// A connection that was just accepted; `reader` names `token` when there is something to `take`. `legacy`: it speaks
    /// the older protocol `graphql-ws`.
    ///
    /// With `decides=True` the host is asked about every subscription, otherwise where the declaration says so; with
    /// `executes=True` also about queries and mutations.
    #[new]
    #[pyo3(signature = (executor, reader, token, *, legacy=false, decides=false, executes=false))]
    fn new(
        py: Python<'_>,
        executor: &SubscriptionExecutor,
        reader: &LoopReader,
        token: u64,
        legacy: bool,
        decides: bool,
        executes: bool,
    ) -> PyResult<Self> {
        let (core, lane) = (Arc::clone(executor.core()?), Arc::clone(reader.lane()));
        let options = SubscriberOptions {
            wake: Wake::Mailbox(Arc::clone(&lane.mailbox), token),
            ring_frames_max: None,
        };
        let subscriber =
            detached(py, || core.engine.open(options))?.map_err(|error| open_error(py, &error))?;
        let dialect = if legacy { Dialect::Legacy } else { Dialect::Modern };
        let machine = Machine::speaking(dialect, core.engine.limits());
        let context = security::SecurityContext::default();
        let hosted = Hosted::new(decides, executes);
        let connection =
            Connection { machine, subscriber, core, lane, context, hosted, closing: None, lost: 0 };
        Ok(Self(Lock::new(Some(Native::new(connection)))))
    }

    /// Takes one message of the client: text, or `None` for a binary one.
    ///
    /// Answers `("authenticate", payload)` when `accept` or `refuse` is due, `("operation", operation)` when the host is
    /// to decide on one or to run it, `("complete", operation)` when its client has ended such a one, and
    /// `("close", code, reason)` when the connection must be closed.
    #[pyo3(signature = (text, /))]
    fn receive<'py>(&self, py: Python<'py>, text: Option<&Bound<'py, PyString>>) -> PyResult<Asked<'py>> {
        let message = match text.map(|text| text.to_str()) {
            None => Message::Binary,
            Some(Ok(text)) => Message::Text(text.into()),
            // A lone surrogate is no UTF-8: the machine says so.
            Some(Err(_)) => Message::Text(vec![0xff]),
        };
        self.with(|connection| connection.receive(py, message))
    }

    /// The client may subscribe as `context`; `payload`, a JSON object, comes with the acknowledgement.
    #[pyo3(signature = (context, *, payload=None))]
    fn accept<'py>(
        &self,
        py: Python<'py>,
        context: &SecurityContext,
        payload: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Asked<'py>> {
        self.with(|connection| {
            let payload = payload.map(|payload| connection.core.variables(Some(payload))).transpose()?;
            let found = connection.accept(py, context.security().clone(), payload.as_ref())?;
            close(py, found)
        })
    }

    /// The client may not subscribe, or may not go on; `failed`: nobody could tell whether it may.
    #[pyo3(signature = (*, failed=false))]
    fn refuse<'py>(&self, py: Python<'py>, failed: bool) -> PyResult<Asked<'py>> {
        self.with(|connection| {
            let ruling = if failed { Ruling::Error } else { Ruling::Denied };
            connection.core.engine.count_authentication(ruling);
            close(py, connection.machine.refused(CloseCode::Forbidden.reason()))
        })
    }

    /// What resolvers are told of this connection, as `info.context`.
    fn tell_resolvers(&self, context: Py<PyAny>) -> PyResult<()> {
        self.with(|connection| {
            connection.hosted.context = Some(context);
            Ok(())
        })
    }

    /// The host lets a subscription in: answers whether it is active. If not, its client was told, or has gone.
    fn start(&self, py: Python<'_>, operation: &Operation) -> PyResult<bool> {
        self.with(|connection| Ok(connection.start(py, operation)))
    }

    /// One value of a generator, of which the client gets what it selected. `False`: the operation is over.
    ///
    /// Raises `ValueError` and `TypeError` for what has no JSON form, and `InvalidQuery` if it cannot be shaped any more.
    fn send(&self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.with(|connection| connection.send(operation, value))
    }

    /// The result of a query or mutation, in the shape that GraphQL gives it. `False`: the operation is over.
    fn result(&self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.with(|connection| connection.result(operation, value))
    }

    /// Ends an operation with errors, in the shape that GraphQL gives them; none tells of an internal error.
    fn fail(&self, operation: &Operation, errors: &Bound<'_, PyAny>) -> PyResult<()> {
        self.with(|connection| connection.fail(operation, errors))
    }

    /// Ends an operation that has sent all its results.
    fn finish(&self, py: Python<'_>, operation: &Operation) -> PyResult<()> {
        self.with(|connection| connection.finish(py, operation))
    }

    /// How many of the host's results wait to be taken.
    fn waiting(&self) -> PyResult<usize> {
        self.with(|connection| Ok(connection.hosted.texts.len()))
    }

    /// Those operations of the host that the engine has ended since the last call.
    fn ended(&self) -> PyResult<Vec<Py<Operation>>> {
        self.with(|connection| Ok(std::mem::take(&mut connection.hosted.ended)))
    }

    /// The server ends the connection, for a reason of the host's.
    fn close_with<'py>(&self, py: Python<'py>, code: u16, reason: &str) -> PyResult<Asked<'py>> {
        self.with(|connection| close(py, connection.machine.close(Close::of(code, reason))))
    }

    /// Who the client is does not hold any more.
    fn expire<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        self.with(|connection| {
            let found = connection.machine.close(Close::new(CloseCode::Forbidden, "Token expired"));
            if found.is_some() {
                connection.core.engine.count_authentication(Ruling::Denied);
            }
            close(py, found)
        })
    }

    /// The time to wait for `connection_init` is over.
    fn init_timed_out<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        self.with(|connection| close(py, connection.machine.init_timed_out()))
    }

    /// The interval of keep-alive is over: a ping becomes ready, unless the last one was not answered.
    fn keep_alive<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        self.with(|connection| close(py, connection.machine.keep_alive()))
    }

    /// The server ends the connection: clients come back.
    fn go_away<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        self.with(|connection| close(py, connection.machine.close(CloseCode::GoingAway)))
    }

    /// Up to `limit` texts to send, in order; fewer than `limit` means that nothing more is ready.
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyString>>> {
        self.with(|connection| guarded(|| connection.take(py, limit))?)
    }

    /// The close that what was taken last asks for, once.
    fn closing<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        self.with(|connection| close(py, connection.closing.take()))
    }

    /// How many results were lost since the last call because the client reads too slowly.
    fn losses(&self) -> PyResult<u64> {
        self.with(|connection| Ok(std::mem::take(&mut connection.lost)))
    }

    /// The connection is gone: ends its subscriptions. Later calls do nothing. Safe to repeat.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let connection = self.0.lock().take();
        detached(py, || drop(connection))
    }
}

impl Session {
    /// Runs `work` on the connection, which is out of reach meanwhile: no lock is held while Python runs.
    fn with<T: Default>(&self, work: impl FnOnce(&mut Connection) -> PyResult<T>) -> PyResult<T> {
        let Some(mut connection) = self.0.lock().take() else { return Ok(T::default()) };
        let worked = connection.get_mut().and_then(work);
        *self.0.lock() = Some(connection);
        worked
    }
}

impl Connection {
    /// The client is this one from now on; its subscriptions are judged anew if it was another.
    fn accept(
        &mut self,
        py: Python<'_>,
        context: security::SecurityContext,
        payload: Option<&Value>,
    ) -> PyResult<Option<Close>> {
        let renewing = self.machine.is_renewing();
        self.core.engine.count_authentication(Ruling::Allowed);
        if let Err(limit) = self.subscriber.belong_to(&context) {
            return Ok(self.machine.refused(&limit.to_string()));
        }
        if renewing {
            detached(py, || self.subscriber.refresh(context.clone()))?;
        }
        self.context = context;
        let close = self.machine.accepted(payload);
        self.start_held(py)?;
        Ok(close)
    }

    /// Starts what waited for its turn. Only the older protocol has such, where the host is never asked.
    fn start_held(&mut self, py: Python<'_>) -> PyResult<()> {
        while let Some(subscribe) = self.machine.next_held() {
            self.subscribe(py, subscribe)?;
        }
        Ok(())
    }

    fn receive<'py>(&mut self, py: Python<'py>, message: Message) -> PyResult<Asked<'py>> {
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary => 0,
        };
        match detached_if_long(py, bytes, || self.machine.receive(message))? {
            Action::None => Ok(None),
            Action::Authenticate { payload } => authenticate(py, payload.as_ref()).map(Some),
            Action::Subscribe(subscribe) => self.subscribe(py, subscribe),
            Action::Complete(operation) => {
                detached(py, || self.subscriber.cancel(operation.id()))?;
                self.start_held(py)?;
                let hosted = self.hosted.completed(&operation);
                hosted.map(|operation| (intern!(py, "complete"), operation).into_pyobject(py)).transpose()
            }
            Action::Close(close) => self::close(py, Some(close)),
        }
    }

    /// Asks the host about an operation, or starts it.
    fn subscribe<'py>(&mut self, py: Python<'py>, subscribe: Subscribe) -> PyResult<Asked<'py>> {
        match self.ask(py, &subscribe) {
            Ok(Ok(None)) => self.register(py, subscribe, false),
            Ok(Ok(Some(_))) if self.machine.dialect() == Dialect::Legacy => {
                self.hosted.completed(&subscribe.operation);
                let message = "this operation is served over `graphql-transport-ws` only";
                let error = GraphQlError::new("NOT_SUPPORTED", message);
                self.machine.failed(&subscribe.operation, &[error]);
            }
            Ok(Ok(Some(operation))) => {
                return (intern!(py, "operation"), operation).into_pyobject(py).map(Some);
            }
            Ok(Err(errors)) => _ = self.machine.failed(&subscribe.operation, &errors),
            Err(raised) => self.fault(py, &subscribe.operation, &raised),
        }
        Ok(None)
    }

    /// A fault of the server, such as a declaration that is no resolver: not for the client to read.
    fn fault(&mut self, py: Python<'_>, operation: &protocol::Operation, raised: &PyErr) {
        errors::log(py, "a subscription could not be set up", raised);
        self.machine.failed(operation, &[]);
    }

    /// Starts a subscription. Whatever goes wrong ends this operation only, with an `error` message.
    fn register(&mut self, py: Python<'_>, subscribe: Subscribe, permitted: bool) {
        let resume = match subscribe.resume() {
            Ok(resume) => resume,
            Err(error) => {
                self.machine.failed(&subscribe.operation, &[error]);
                return;
            }
        };
        let operation_name = hosted::operation_name(&subscribe);
        let Subscribe { operation, query, variables, .. } = subscribe;
        let request = SubscribeRequest {
            id: operation.id().to_owned(),
            query,
            operation_name,
            variables,
            context: self.context.clone(),
            resume,
            ..SubscribeRequest::default()
        };
        let host = self.hosted.context.as_ref().map(|context| context.clone_ref(py));
        let lane = Some(Arc::clone(&self.lane));
        let wish = Wish { request, resolver: None, overflow: None, lane, host, permitted };
        match self.core.subscribe(py, &mut self.subscriber, wish) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => _ = self.machine.failed(&operation, &hosted::refused(error)),
            Err(raised) => self.fault(py, &operation, &raised),
        }
    }

    /// Replies of the protocol first: an operation's messages come after what started it.
    fn take<'py>(&mut self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyString>>> {
        let mut texts = Vec::new();
        while texts.len() < limit
            && let Some(reply) = self.machine.next_reply()
        {
            texts.push(PyString::new(py, &reply));
        }
        let dialect = self.machine.dialect();
        while texts.len() < limit
            && let Some((_, text)) = self.hosted.texts.pop_front()
        {
            texts.push(PyString::new(py, &text));
        }
        let Self { subscriber, lane, .. } = self;
        let (mut failed, mut too_slow, mut ended, mut lost) = (None, false, Vec::new(), 0);
        if texts.len() < limit {
            subscriber.drain(limit - texts.len(), |delivery| {
                let write = || {
                    let mut text = Vec::new();
                    dialect.write(&delivery, &mut text);
                    text
                };
                let text = match delivery.content {
                    // Shared texts are those of the dialect that most connections speak.
                    Content::Result(_) if dialect == Dialect::Legacy => Lane::own_text(py, write()),
                    Content::Result(payload) => lane.text(py, delivery.id, payload, write),
                    Content::Gap(gap) => {
                        lost += slow(&gap);
                        Lane::own_text(py, write())
                    }
                    Content::Resumed(_) => Lane::own_text(py, write()),
                    Content::Closed(_) => {
                        ended.push(delivery.id.to_owned());
                        Lane::own_text(py, write())
                    }
                    Content::Ended(gap) => {
                        lost += slow(&gap);
                        too_slow = true;
                        Lane::own_text(py, write())
                    }
                };
                match text {
                    Ok(text) => texts.push(text),
                    Err(error) => failed = Some(error),
                }
            });
        }
        self.lost += lost;
        // Its `error` message was taken: the client may use the id again.
        for id in &ended {
            self.machine.ended(id);
            self.hosted.ended(id);
        }
        if let Some(close) = self.machine.last_words() {
            self.closing = Some(close);
        } else if too_slow {
            self.closing = self.machine.close(CloseCode::TooSlow);
        }
        failed.map_or(Ok(texts), Err)
    }
}

/// The results of a gap that reading faster would have saved.
fn slow(gap: &Gap) -> u64 {
    if gap.reason == GapReason::Overflow { u64::from(gap.count) } else { 0 }
}

fn authenticate<'py>(py: Python<'py>, payload: Option<&Value>) -> PyResult<Bound<'py, PyTuple>> {
    let payload =
        payload.map_or_else(|| Ok(py.None().into_bound(py)), |payload| decode::tree(py, payload))?;
    (intern!(py, "authenticate"), payload).into_pyobject(py)
}

fn close(py: Python<'_>, close: Option<Close>) -> PyResult<Asked<'_>> {
    close.map(|close| (intern!(py, "close"), close.code(), close.reason()).into_pyobject(py)).transpose()
}
