//! `Exchange` and `Stream`: subscriptions over HTTP, joined to the engine.
//!
//! As for `Session`, the engine knows the protocols; Python moves bytes between an ASGI server and here.

use std::sync::Arc;

use coulis::{
    engine::{OpenError, SubscribeError, SubscribeRequest},
    error::GraphQlError,
    metrics::Ruling,
    notifier::Wake,
    plan::OperationName,
    protocol::{
        Operation, Request,
        http::{self, Ask, Head, Refusal},
        stream::{self, Form},
    },
    subscriber::{Subscriber, SubscriberOptions},
};
use pyo3::{
    prelude::*,
    pybacked::PyBackedBytes,
    types::{PyBytes, PyTuple},
};

use crate::{
    context::SecurityContext,
    core::{Core, Wish},
    errors::{self, AuthorizationFailed, detached, detached_if_long, guarded},
    executor::SubscriptionExecutor,
    forks::Native,
    lock::Lock,
    reader::{Lane, LoopReader},
};

/// The id of the operation of an answer that has one only.
const ONLY: &str = "1";

/// What is wrong with a request, as an answer: its status, its `Allow` and its body.
type Answer = (u16, Option<&'static str>, String);

fn answer(refusal: &Refusal) -> Answer {
    (refusal.status, refusal.allow(), refusal.body())
}

/// One request over HTTP: what it asks for.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct Exchange {
    /// What is wrong with the head is told when it is asked for.
    read: Result<http::Exchange, Refusal>,
    request: Lock<Option<Request>>,
    bytes_max: usize,
}

#[pymethods]
impl Exchange {
    /// Reads the head of a request; names of headers in any case.
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "an argument of Python")]
    fn new(
        executor: &SubscriptionExecutor,
        method: &str,
        query: &[u8],
        headers: Vec<(PyBackedBytes, PyBackedBytes)>,
    ) -> PyResult<Self> {
        let limits = executor.core()?.engine.limits();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        let head = Head { method, query, headers: &headers };
        let read = guarded(|| http::Exchange::read(&head, limits))?;
        Ok(Self { read, request: Lock::new(None), bytes_max: limits.message_bytes_max })
    }

    /// What is asked for: a word, then the form of the answer or a token, then the id of an operation.
    #[getter]
    fn asked<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let (word, what, id) = match self.read.as_ref().map(http::Exchange::ask) {
            Err(_) => ("refuse", None, None),
            Ok(Ask::Stream(Form::Parts)) => ("stream", Some("parts"), None),
            Ok(Ask::Stream(_)) => ("stream", Some("events"), None),
            Ok(Ask::Reserve { token }) => ("reserve", token.as_deref(), None),
            Ok(Ask::Open { token }) => ("open", Some(token.as_str()), None),
            Ok(Ask::Run { token }) => ("run", Some(token.as_str()), None),
            Ok(Ask::Stop { token, operation }) => ("stop", Some(token.as_str()), Some(operation.as_str())),
        };
        (word, what, id).into_pyobject(py)
    }

    /// The bytes of body to read at most, or `None` if there is none to read.
    #[getter]
    fn body_bytes_max(&self) -> Option<usize> {
        let posted = self.read.as_ref().is_ok_and(http::Exchange::has_body);
        posted.then_some(self.bytes_max)
    }

    /// Takes the body, and answers what is wrong with the request.
    #[pyo3(signature = (body, /))]
    fn receive(&self, py: Python<'_>, body: &[u8]) -> PyResult<Option<Answer>> {
        let read = match &self.read {
            Ok(exchange) => detached_if_long(py, body.len(), || exchange.request(body.to_vec()))?,
            Err(refusal) => Err(refusal.clone()),
        };
        match read {
            Ok(request) => {
                *self.request.lock() = Some(request);
                Ok(None)
            }
            Err(refusal) => Ok(Some(answer(&refusal))),
        }
    }

    /// What is wrong with the head.
    #[getter]
    fn refusal(&self) -> Option<Answer> {
        self.read.as_ref().err().map(answer)
    }
}

/// One answer over HTTP that carries results. After each call send what `take` hands out, until `over`.
///
/// Use it in the thread of its reader's loop.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct Stream(Lock<Option<Native<Connection>>>);

#[derive(Debug)]
struct Connection {
    stream: stream::Stream,
    subscriber: Subscriber,
    core: Arc<Core>,
    lane: Arc<Lane>,
}

#[pymethods]
impl Stream {
    /// An answer in the form `events`, `shared` or `parts` to who `context` is, or what is wrong. `reader` names `token`
    /// when there is something to `take`.
    #[staticmethod]
    fn open(
        py: Python<'_>,
        executor: &SubscriptionExecutor,
        reader: &LoopReader,
        token: u64,
        form: &str,
        context: &SecurityContext,
    ) -> PyResult<(Option<Self>, Option<Answer>)> {
        let (core, lane) = (Arc::clone(executor.core()?), Arc::clone(reader.lane()));
        core.engine.count_authentication(Ruling::Allowed);
        let form = match form {
            "parts" => Form::Parts,
            "shared" => Form::SharedEvents,
            _ => Form::Events,
        };
        let options = SubscriberOptions {
            wake: Wake::Mailbox(Arc::clone(&lane.mailbox), token),
            ring_frames_max: None,
        };
        let mut subscriber = match detached(py, || core.engine.open(options))? {
            Ok(subscriber) => subscriber,
            Err(OpenError::Limit(limit)) => return Ok((None, Some(answer(&Refusal::from(limit))))),
            Err(OpenError::Closed) => return Ok((None, Some(answer(&closed())))),
        };
        if let Err(limit) = subscriber.belong_to(context.security()) {
            return Ok((None, Some(answer(&Refusal::from(limit)))));
        }
        let stream = stream::Stream::new(form, core.engine.limits());
        let connection = Connection { stream, subscriber, core, lane };
        Ok((Some(Self(Lock::new(Some(Native::new(connection))))), None))
    }

    /// Counts that a client was refused; `failed`: nobody could tell whether it may come in.
    #[staticmethod]
    #[pyo3(signature = (executor, *, failed=false))]
    fn refused(executor: &SubscriptionExecutor, failed: bool) -> PyResult<()> {
        let ruling = if failed { Ruling::Error } else { Ruling::Denied };
        executor.core()?.engine.count_authentication(ruling);
        Ok(())
    }

    /// The value of `Content-Type`.
    #[getter]
    fn content_type(&self) -> PyResult<&'static str> {
        self.with(|connection| Ok(connection.stream.form().content_type()))
    }

    /// Starts the operation that `exchange` asks for, as who `context` is. Answers what is wrong where that is not for
    /// the stream to tell.
    fn start(
        &self,
        py: Python<'_>,
        exchange: &Exchange,
        context: &SecurityContext,
    ) -> PyResult<Option<Answer>> {
        let (Ok(read), Some(request)) = (&exchange.read, exchange.request.lock().take()) else {
            return Ok(None);
        };
        self.with(|connection| Ok(connection.start(py, read, &request, context).as_ref().map(answer)))
    }

    /// Stops an operation, if it is open.
    fn stop(&self, py: Python<'_>, operation: &str) -> PyResult<()> {
        self.with(|connection| match connection.stream.stop(operation) {
            Some(_) => detached(py, || connection.subscriber.cancel(operation)).map(drop),
            None => Ok(()),
        })
    }

    /// The interval of keep-alive is over. An answer of an engine that is closed ends.
    fn keep_alive(&self) -> PyResult<()> {
        self.with(|connection| {
            if connection.core.engine.is_closed() {
                let error = GraphQlError::new("ENGINE_CLOSED", "the server is closing: subscribe again");
                connection.stream.end(&error);
            } else {
                connection.stream.keep_alive();
            }
            Ok(())
        })
    }

    /// Who the client is does not hold any more: ends all.
    fn expire(&self) -> PyResult<()> {
        self.with(|connection| {
            connection.core.engine.count_authentication(Ruling::Denied);
            let error =
                GraphQlError::new("TOKEN_EXPIRED", "the token has expired: connect again with a new one");
            connection.stream.end(&error);
            Ok(())
        })
    }

    /// The bytes of up to `limit` results, after what goes before them; nothing if nothing is ready.
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.with(|connection| guarded(|| connection.take(limit)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Whether the answer ends with what was taken.
    #[getter]
    fn over(&self) -> PyResult<bool> {
        self.with(|connection| Ok(connection.stream.is_over()))
    }

    /// The client is gone, or the answer ended: ends the subscriptions. Later calls do nothing. Safe to repeat.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let connection = self.0.lock().take();
        detached(py, || drop(connection))
    }
}

impl Stream {
    /// Runs `work` on the connection, which is out of reach meanwhile: no lock is held while Python runs.
    fn with<T: Default>(&self, work: impl FnOnce(&mut Connection) -> PyResult<T>) -> PyResult<T> {
        let Some(mut connection) = self.0.lock().take() else { return Ok(T::default()) };
        let worked = connection.get_mut().and_then(work);
        *self.0.lock() = Some(connection);
        worked
    }
}

impl Connection {
    fn start(
        &mut self,
        py: Python<'_>,
        exchange: &http::Exchange,
        request: &Request,
        context: &SecurityContext,
    ) -> Option<Refusal> {
        let id = match exchange.ask() {
            Ask::Run { .. } => exchange.operation_id(request),
            _ => Ok(ONLY.to_owned()),
        };
        let operation = match id.and_then(|id| self.stream.start(&id)) {
            Ok(operation) => operation,
            Err(refusal) => return Some(refusal),
        };
        let resume = exchange.resume(request).map_err(|error| vec![error]);
        let errors =
            resume.and_then(|resume| self.subscribe(py, &operation, request, resume, context)).err()?;
        let refusal = exchange.refusal(request, &errors);
        if refusal.is_some() {
            self.stream.forget(&operation);
        } else {
            self.stream.failed(&operation, &errors);
        }
        refusal
    }

    /// Registers the operation, or says what is wrong with it.
    fn subscribe(
        &mut self,
        py: Python<'_>,
        operation: &Operation,
        asked: &Request,
        resume: Option<String>,
        context: &SecurityContext,
    ) -> Result<(), Vec<GraphQlError>> {
        let name = asked.operation_name.clone();
        let request = SubscribeRequest {
            id: operation.id().to_owned(),
            query: asked.query.clone(),
            operation_name: name.map_or(OperationName::Only, OperationName::Named),
            variables: asked.variables.clone(),
            context: context.security().clone(),
            resume,
            ..SubscribeRequest::default()
        };
        // What has to be asked of the host first is refused here: that is served over WebSocket.
        let lane = Some(Arc::clone(&self.lane));
        let wish = Wish { request, resolver: None, overflow: None, lane, host: None, permitted: false };
        match self.core.subscribe(py, &mut self.subscriber, wish) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SubscribeError::InvalidQuery(errors))) => Err(errors),
            Ok(Err(error)) => Err(vec![GraphQlError::new(error.code(), error.to_string())]),
            Err(raised) if raised.is_instance_of::<AuthorizationFailed>(py) => {
                Err(vec![GraphQlError::new("NOT_SUPPORTED", raised.value(py).to_string())])
            }
            Err(raised) => {
                // A fault of the server, such as a declaration that is no resolver: not for the client to read.
                errors::log(py, "a subscription could not be set up", &raised);
                Err(vec![GraphQlError::new("INTERNAL_SERVER_ERROR", "Internal server error")])
            }
        }
    }

    fn take(&mut self, limit: usize) -> Vec<u8> {
        let Self { stream, subscriber, .. } = self;
        let mut bytes = stream.take();
        if !stream.is_over() {
            // Nothing may follow the end of an answer.
            subscriber.drain(limit, |delivery| {
                if !stream.is_over() {
                    stream.write(&delivery, &mut bytes);
                }
            });
        }
        bytes
    }
}

fn closed() -> Refusal {
    Refusal::new(503, "ENGINE_CLOSED", "the server is closing: try again")
}
