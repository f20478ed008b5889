//! `Session`: one connection of graphql-transport-ws, joined to the engine.
//!
//! The state machine of the engine knows the protocol, its subscriber holds the messages; this joins the two, so
//! that Python only moves text between a socket and here.

use std::sync::Arc;

use coulis::{
    engine::SubscribeRequest,
    error::GraphQlError,
    metrics::Ruling,
    notifier::Wake,
    plan::OperationName,
    protocol::{Action, Close, CloseCode, Dialect, Machine, Message, Subscribe},
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
    reader::{Lane, LoopReader},
};

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
    /// The engine ended the connection.
    closing: Option<Close>,
    /// Results lost because the client reads too slowly, since `losses` was asked.
    lost: u64,
}

/// What a call asks of the socket's owner: `("authenticate", payload)`, `("close", code, reason)` or nothing.
type Asked<'py> = Option<Bound<'py, PyTuple>>;

#[pymethods]
impl Session {
    /// A connection that was just accepted; `reader` names `token` when there is something to `take`. `legacy`: it speaks
    /// the older protocol `graphql-ws`.
    #[new]
    #[pyo3(signature = (executor, reader, token, *, legacy=false))]
    fn new(
        py: Python<'_>,
        executor: &SubscriptionExecutor,
        reader: &LoopReader,
        token: u64,
        legacy: bool,
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
        let connection = Connection { machine, subscriber, core, lane, context, closing: None, lost: 0 };
        Ok(Self(Lock::new(Some(Native::new(connection)))))
    }

    /// Takes one message of the client: text, or `None` for a binary one.
    ///
    /// Answers `("authenticate", payload)` when `accept` or `refuse` is due, and `("close", code, reason)` when the
    /// connection must be closed.
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

    /// The client may subscribe as `context`.
    fn accept<'py>(&self, py: Python<'py>, context: &SecurityContext) -> PyResult<Asked<'py>> {
        self.with(|connection| {
            let found = connection.accept(py, context.security().clone())?;
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
    fn accept(&mut self, py: Python<'_>, context: security::SecurityContext) -> PyResult<Option<Close>> {
        let renewing = self.machine.is_renewing();
        self.core.engine.count_authentication(Ruling::Allowed);
        if let Err(limit) = self.subscriber.belong_to(&context) {
            return Ok(self.machine.refused(&limit.to_string()));
        }
        if renewing {
            detached(py, || self.subscriber.refresh(context.clone()))?;
        }
        self.context = context;
        let close = self.machine.accepted(None);
        self.start_held(py);
        Ok(close)
    }

    /// Starts what waited for its turn.
    fn start_held(&mut self, py: Python<'_>) {
        while let Some(subscribe) = self.machine.next_held() {
            self.subscribe(py, subscribe);
        }
    }

    fn receive<'py>(&mut self, py: Python<'py>, message: Message) -> PyResult<Asked<'py>> {
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary => 0,
        };
        match detached_if_long(py, bytes, || self.machine.receive(message))? {
            Action::None => Ok(None),
            Action::Authenticate { payload } => authenticate(py, payload.as_ref()).map(Some),
            Action::Subscribe(subscribe) => {
                self.subscribe(py, subscribe);
                Ok(None)
            }
            Action::Complete(operation) => {
                detached(py, || self.subscriber.cancel(operation.id()))?;
                self.start_held(py);
                Ok(None)
            }
            Action::Close(close) => self::close(py, Some(close)),
        }
    }

    /// Starts an operation. Whatever goes wrong ends this operation only, with an `error` message.
    fn subscribe(&mut self, py: Python<'_>, subscribe: Subscribe) {
        let resume = match subscribe.resume() {
            Ok(resume) => resume,
            Err(error) => {
                self.machine.failed(&subscribe.operation, &[error]);
                return;
            }
        };
        let Subscribe { operation, query, operation_name, variables, .. } = subscribe;
        let request = SubscribeRequest {
            id: operation.id().to_owned(),
            query,
            operation_name: operation_name.map_or(OperationName::Only, OperationName::Named),
            variables,
            context: self.context.clone(),
            resume,
            ..SubscribeRequest::default()
        };
        let wish = Wish { request, resolver: None, overflow: None, lane: Some(Arc::clone(&self.lane)) };
        let errors = match self.core.subscribe(py, &mut self.subscriber, wish) {
            Ok(Ok(())) => return,
            Ok(Err(coulis::engine::SubscribeError::InvalidQuery(errors))) => errors,
            Ok(Err(error)) => vec![GraphQlError::new(error.code(), error.to_string())],
            Err(raised) => {
                // A fault of the server, such as a declaration that is no resolver: not for the client to read.
                errors::log(py, "a subscription could not be set up", &raised);
                Vec::new()
            }
        };
        self.machine.failed(&operation, &errors);
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
