//! `Session`: one connection of graphql-transport-ws, joined to the engine.
//!
//! The state machine of the engine knows the protocol, its subscriber holds the messages; this joins the two, so
//! that Python only moves text between a socket and here.

use std::sync::Arc;

use coulis::{
    error::GraphQlError,
    metrics::Ruling,
    notifier::Wake,
    protocol::{Action, Close, CloseCode, Dialect, Machine, Message, Subscribe},
    security,
    subscriber::{Content, Gap, GapReason, SubscriberOptions},
    value::Value,
};
use pyo3::{
    prelude::*,
    types::{PyString, PyTuple},
};

use crate::{
    context::SecurityContext,
    core::open_error,
    decode,
    errors::{detached, detached_if_long, guarded},
    executor::SubscriptionExecutor,
    held::Held,
    hosted::{Hosted, Served},
    lazy::intern,
    operation::{Operation, Order},
    reader::{Lane, LoopReader},
};

/// One connection of graphql-transport-ws, or of the older protocol. Feed it what the client sends and what becomes of authentication and
/// timers; after each call write what `take` hands out, and close as the call asks.
///
/// Use it in the thread of its reader's loop.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct Session(Held<Connection>);

#[derive(Debug)]
struct Connection {
    served: Served<Machine>,
    /// The engine ended the connection.
    closing: Option<Close>,
    /// Results lost because the client reads too slowly, since `told` was asked.
    lost: u64,
}

/// What a call asks of the socket's owner: `("authenticate", payload)`, `("operation", operation)`, `("complete",
/// operation)`, `("close", code, reason)` or nothing.
type Asked<'py> = Option<Bound<'py, PyTuple>>;

/// See [`Session::told`].
type Told<'py> = (u64, Vec<Py<Operation>>, Asked<'py>);

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
        let protocol = Machine::speaking(dialect, core.engine.limits());
        let context = security::SecurityContext::default();
        let hosted = Hosted::new(decides, executes);
        let served = Served { protocol, subscriber, core, lane, context, hosted };
        let connection = Connection { served, closing: None, lost: 0 };
        Ok(Self(Held::new(connection)))
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
        self.0.with(|connection| connection.receive(py, message))
    }

    /// The client may subscribe as `context`; `payload`, a JSON object, comes with the acknowledgement.
    #[pyo3(signature = (context, *, payload=None))]
    fn accept<'py>(
        &self,
        py: Python<'py>,
        context: &SecurityContext,
        payload: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Asked<'py>> {
        self.0.with(|connection| {
            let payload =
                payload.map(|payload| connection.served.core.variables(Some(payload))).transpose()?;
            let found = connection.accept(py, context.security().clone(), payload.as_ref())?;
            close(py, found)
        })
    }

    /// The client may not subscribe, or may not go on; `failed`: nobody could tell whether it may.
    #[pyo3(signature = (*, failed=false))]
    fn refuse<'py>(&self, py: Python<'py>, failed: bool) -> PyResult<Asked<'py>> {
        self.0.with(|connection| {
            let ruling = if failed { Ruling::Error } else { Ruling::Denied };
            connection.served.core.engine.count_authentication(ruling);
            close(py, connection.served.protocol.refused(CloseCode::Forbidden.reason()))
        })
    }

    /// What resolvers are told of this connection, as `info.context`.
    fn tell_resolvers(&self, context: Py<PyAny>) -> PyResult<()> {
        self.0.with(|connection| {
            connection.served.hosted.context = Some(context);
            Ok(())
        })
    }

    /// The host lets a subscription in: answers whether it is active. If not, its client was told, or has gone.
    fn start(&self, py: Python<'_>, operation: &Operation) -> PyResult<bool> {
        self.0.with(|connection| Ok(connection.served.start(py, operation)))
    }

    /// One value of a generator, of which the client gets what it selected. `False`: the operation is over.
    ///
    /// Raises `ValueError` and `TypeError` for what has no JSON form, and `InvalidQuery` if it cannot be shaped any more.
    fn send(&self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.0.with(|connection| connection.served.send(operation, value))
    }

    /// The result of a query or mutation, in the shape that GraphQL gives it. `False`: the operation is over.
    fn result(&self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.0.with(|connection| connection.served.result(operation, value))
    }

    /// Ends an operation with errors, in the shape that GraphQL gives them; none tells of an internal error.
    fn fail(&self, operation: &Operation, errors: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.with(|connection| connection.served.fail(operation, errors))
    }

    /// Ends an operation that has sent all its results.
    fn finish(&self, py: Python<'_>, operation: &Operation) -> PyResult<()> {
        self.0.with(|connection| connection.served.finish(py, operation))
    }

    /// How many of the host's results wait to be taken.
    fn waiting(&self) -> PyResult<usize> {
        self.0.with(|connection| Ok(connection.served.hosted.texts.len()))
    }

    /// The client begins more than the host may have under way.
    fn flooded<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        let flooded = Close::new(CloseCode::PolicyViolation, "Too many operations under way");
        self.0.with(|connection| close(py, connection.served.protocol.close(flooded)))
    }

    /// The server ends the connection, for a reason of the host's.
    fn close_with<'py>(&self, py: Python<'py>, code: u16, reason: &str) -> PyResult<Asked<'py>> {
        self.0.with(|connection| close(py, connection.served.protocol.close(Close::of(code, reason))))
    }

    /// Who the client is does not hold any more.
    fn expire<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        self.0.with(|connection| {
            let found = connection.served.protocol.close(Close::new(CloseCode::Forbidden, "Token expired"));
            if found.is_some() {
                connection.served.core.engine.count_authentication(Ruling::Denied);
            }
            close(py, found)
        })
    }

    /// The time to wait for `connection_init` is over.
    fn init_timed_out<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        self.0.with(|connection| close(py, connection.served.protocol.init_timed_out()))
    }

    /// The interval of keep-alive is over: a ping becomes ready, unless the last one was not answered.
    fn keep_alive<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        self.0.with(|connection| close(py, connection.served.protocol.keep_alive()))
    }

    /// The server ends the connection: clients come back.
    fn go_away<'py>(&self, py: Python<'py>) -> PyResult<Asked<'py>> {
        self.0.with(|connection| close(py, connection.served.protocol.close(CloseCode::GoingAway)))
    }

    /// Up to `limit` texts to send, in order; fewer than `limit` means that nothing more is ready.
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyString>>> {
        self.0.with(|connection| guarded(|| connection.take(py, limit))?)
    }

    /// What else came since the last call with what was taken, if anything did: how many results were lost because the
    /// client reads too slowly, those operations of the host that the engine has ended, and how to close.
    fn told<'py>(&self, py: Python<'py>) -> PyResult<Option<Told<'py>>> {
        self.0.with(|connection| connection.told(py))
    }

    /// The connection is gone: ends its subscriptions. Later calls do nothing. Safe to repeat.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.close(py)
    }
}

impl Connection {
    fn told<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Told<'py>>> {
        let (lost, ended) = (std::mem::take(&mut self.lost), std::mem::take(&mut self.served.hosted.ended));
        let closing = close(py, self.closing.take())?;
        Ok((lost > 0 || !ended.is_empty() || closing.is_some()).then_some((lost, ended, closing)))
    }

    /// The client is this one from now on; its subscriptions are judged anew if it was another.
    fn accept(
        &mut self,
        py: Python<'_>,
        context: security::SecurityContext,
        payload: Option<&Value>,
    ) -> PyResult<Option<Close>> {
        let renewing = self.served.protocol.is_renewing();
        self.served.core.engine.count_authentication(Ruling::Allowed);
        if let Err(limit) = self.served.subscriber.belong_to(&context) {
            return Ok(self.served.protocol.refused(&limit.to_string()));
        }
        if renewing {
            detached(py, || self.served.subscriber.refresh(context.clone()))?;
        }
        self.served.context = context;
        let close = self.served.protocol.accepted(payload);
        self.start_held(py)?;
        Ok(close)
    }

    /// Starts what waited for its turn. Only the older protocol has such, where the host is never asked.
    fn start_held(&mut self, py: Python<'_>) -> PyResult<()> {
        while let Some(subscribe) = self.served.protocol.next_held() {
            self.subscribe(py, subscribe)?;
        }
        Ok(())
    }

    fn receive<'py>(&mut self, py: Python<'py>, message: Message) -> PyResult<Asked<'py>> {
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary => 0,
        };
        match detached_if_long(py, bytes, || self.served.protocol.receive(message))? {
            Action::None => Ok(None),
            Action::Authenticate { payload } => authenticate(py, payload.as_ref()).map(Some),
            Action::Subscribe(subscribe) => self.subscribe(py, subscribe),
            Action::Complete(operation) => {
                detached(py, || self.served.subscriber.cancel(operation.id()))?;
                self.start_held(py)?;
                let hosted = self.served.hosted.completed(&operation);
                hosted.map(|operation| (intern!(py, "complete"), operation).into_pyobject(py)).transpose()
            }
            Action::Close(close) => self::close(py, Some(close)),
        }
    }

    /// Asks the host about an operation, or starts it.
    fn subscribe<'py>(&mut self, py: Python<'py>, subscribe: Subscribe) -> PyResult<Asked<'py>> {
        let meant = subscribe.operation.clone();
        let begun = subscribe.resume().map_err(|error| vec![error]).and_then(|resume| {
            let order = Order { subscribe, resume, context: None };
            self.served.begin(py, &order)
        });
        let errors = match begun {
            Ok(None) => return Ok(None),
            Ok(Some(operation)) if self.served.protocol.dialect() == Dialect::Modern => {
                return (intern!(py, "operation"), operation).into_pyobject(py).map(Some);
            }
            Ok(Some(_)) => {
                self.served.hosted.completed(&meant);
                let message = "this operation is served over `graphql-transport-ws` only";
                vec![GraphQlError::new("NOT_SUPPORTED", message)]
            }
            Err(errors) => errors,
        };
        self.served.protocol.failed(&meant, &errors);
        Ok(None)
    }

    /// What the engine has ended: nothing more is sent of it, the host's results among it.
    fn take_ended<'py>(
        &mut self,
        py: Python<'py>,
        dialect: Dialect,
        texts: &mut Vec<Bound<'py, PyString>>,
    ) -> PyResult<()> {
        let mut ended = Vec::new();
        self.served.subscriber.drain_ended(|delivery| {
            let mut text = Vec::new();
            dialect.write(&delivery, &mut text);
            ended.push((delivery.id.to_owned(), text));
        });
        for (id, text) in ended {
            texts.push(Lane::own_text(py, text)?);
            self.served.protocol.ended(&id);
            self.served.hosted.ended(&id);
        }
        Ok(())
    }

    /// Replies of the protocol first: an operation's messages come after what started it.
    fn take<'py>(&mut self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyString>>> {
        let mut texts = Vec::new();
        while texts.len() < limit
            && let Some(reply) = self.served.protocol.next_reply()
        {
            texts.push(PyString::new(py, &reply));
        }
        let dialect = self.served.protocol.dialect();
        self.take_ended(py, dialect, &mut texts)?;
        while texts.len() < limit
            && let Some((_, text)) = self.served.hosted.texts.pop_front()
        {
            texts.push(Lane::own_text(py, text)?);
        }
        let Served { subscriber, lane, .. } = &mut self.served;
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
            self.served.protocol.ended(id);
            self.served.hosted.ended(id);
        }
        if let Some(close) = self.served.protocol.last_words() {
            self.closing = Some(close);
        } else if too_slow {
            self.closing = self.served.protocol.close(CloseCode::TooSlow);
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
