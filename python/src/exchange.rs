//! `Exchange` and `Stream`: GraphQL over HTTP, joined to the engine.
//!
//! As for `Session`, the engine knows the protocols; Python moves bytes between an ASGI server and here.

use std::sync::Arc;

use coulis::{
    engine::OpenError,
    error::GraphQlError,
    metrics::Ruling,
    notifier::Wake,
    protocol::{
        Request, Subscribe,
        http::{self, Ask, Head, Origin, Refusal},
        stream::{self, Form},
        whole::Media,
    },
    subscriber::{Content, SubscriberOptions},
};
use pyo3::{
    prelude::*,
    pybacked::PyBackedBytes,
    types::{PyBytes, PyTuple},
};

use crate::{
    context::SecurityContext,
    errors::{detached, detached_if_long, guarded},
    executor::SubscriptionExecutor,
    held::Held,
    hosted::{Hosted, Served},
    lock::Lock,
    operation::{Operation, Order},
    reader::LoopReader,
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
    media: Media,
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
        let media = http::Exchange::media(&head);
        Ok(Self { read, request: Lock::new(None), bytes_max: limits.message_bytes_max, media })
    }

    /// What is asked for: a word, then a token, then the id of an operation.
    #[getter]
    fn asked<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let (word, what, id) = match self.read.as_ref().map(http::Exchange::ask) {
            Err(_) => ("refuse", None, None),
            Ok(Ask::Answer) => ("answer", None, None),
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

    /// How to answer the request that was received: `events`, `parts`, `shared`, `json` or `response`; or what is wrong with it.
    /// `trusted`: the page that sent it may send what it likes.
    fn form(&self, py: Python<'_>, trusted: bool) -> PyResult<(&'static str, Option<Answer>)> {
        let origin = if trusted { Origin::Allowed } else { Origin::Unknown };
        let (Ok(read), Some(request)) = (&self.read, &*self.request.lock()) else {
            return Ok(("json", None));
        };
        let found = detached_if_long(py, request.query.len(), || read.form(request, origin))?;
        Ok(match found {
            Ok(form) => (word(form), None),
            Err(refusal) => ("json", Some(answer(&refusal))),
        })
    }

    /// The value of `Content-Type` for an answer that is no stream.
    #[getter]
    fn content_type(&self) -> &'static str {
        self.media.content_type()
    }

    /// What is wrong with the head.
    #[getter]
    fn refusal(&self) -> Option<Answer> {
        self.read.as_ref().err().map(answer)
    }
}

/// A form's name in Python.
fn word(form: Form) -> &'static str {
    match form {
        Form::Events => "events",
        Form::SharedEvents => "shared",
        Form::Parts => "parts",
        Form::Whole(Media::Json) => "json",
        Form::Whole(Media::Response) => "response",
    }
}

/// One answer over HTTP that carries results. After each call send what `take` hands out, until `over`.
///
/// Use it in the thread of its reader's loop.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct Stream(Held<Connection>);

type Connection = Served<stream::Stream>;

#[pymethods]
impl Stream {
    /// An answer in a form of `Exchange.form` to who `context` is, or what is wrong. `reader` names `token` when there is
    /// something to `take`. `decides` and `executes` are as for a `Session`.
    #[staticmethod]
    #[pyo3(signature = (executor, reader, token, form, context, *, decides=false, executes=false))]
    #[expect(clippy::too_many_arguments, reason = "arguments of Python, by name")]
    fn open(
        py: Python<'_>,
        executor: &SubscriptionExecutor,
        reader: &LoopReader,
        token: u64,
        form: &str,
        context: &SecurityContext,
        decides: bool,
        executes: bool,
    ) -> PyResult<(Option<Self>, Option<Answer>)> {
        let (core, lane) = (Arc::clone(executor.core()?), Arc::clone(reader.lane()));
        core.engine.count_authentication(Ruling::Allowed);
        let form = match form {
            "parts" => Form::Parts,
            "shared" => Form::SharedEvents,
            "json" => Form::Whole(Media::Json),
            "response" => Form::Whole(Media::Response),
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
        let protocol = stream::Stream::new(form, core.engine.limits());
        let (context, hosted) = (context.security().clone(), Hosted::new(decides, executes));
        let connection = Served { protocol, subscriber, core, lane, context, hosted };
        Ok((Some(Self(Held::new(connection))), None))
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
        self.0.with(|connection| Ok(connection.protocol.form().content_type()))
    }

    /// The status of the answer; known when it is `over`, where it is one result.
    #[getter]
    fn status(&self) -> PyResult<u16> {
        self.0.with(|connection| Ok(connection.protocol.status()))
    }

    /// Takes the operation that `exchange` asks for, as who `context` is. Answers what is wrong where that is not for the
    /// stream to tell, and the operation where the host is to decide on it or to run it.
    fn receive(
        &self,
        py: Python<'_>,
        exchange: &Exchange,
        context: &SecurityContext,
    ) -> PyResult<(Option<Answer>, Option<Py<Operation>>)> {
        let (Ok(read), Some(request)) = (&exchange.read, exchange.request.lock().take()) else {
            return Ok((None, None));
        };
        self.0.with(|connection| {
            Ok(match connection.receive(py, read, request, context) {
                Ok(operation) => (None, operation),
                Err(refusal) => (Some(answer(&refusal)), None),
            })
        })
    }

    /// Stops an operation, if it is open; answers it if the host has decided on it.
    fn stop(&self, py: Python<'_>, operation: &str) -> PyResult<Option<Py<Operation>>> {
        self.0.with(|connection| match connection.protocol.stop(operation) {
            Some(stopped) => {
                detached(py, || connection.subscriber.cancel(operation))?;
                Ok(connection.hosted.completed(&stopped))
            }
            None => Ok(None),
        })
    }

    /// As of a `Session`.
    fn tell_resolvers(&self, context: Py<PyAny>) -> PyResult<()> {
        self.0.with(|connection| {
            connection.hosted.context = Some(context);
            Ok(())
        })
    }

    /// As of a `Session`.
    fn start(&self, py: Python<'_>, operation: &Operation) -> PyResult<bool> {
        self.0.with(|connection| Ok(connection.start(py, operation)))
    }

    /// As of a `Session`.
    fn send(&self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.0.with(|connection| connection.send(operation, value))
    }

    /// As of a `Session`.
    fn result(&self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.0.with(|connection| connection.result(operation, value))
    }

    /// As of a `Session`.
    fn fail(&self, operation: &Operation, errors: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.with(|connection| connection.fail(operation, errors))
    }

    /// As of a `Session`.
    fn finish(&self, py: Python<'_>, operation: &Operation) -> PyResult<()> {
        self.0.with(|connection| connection.finish(py, operation))
    }

    /// As of a `Session`.
    fn waiting(&self) -> PyResult<usize> {
        self.0.with(|connection| Ok(connection.hosted.texts.len()))
    }

    /// As of a `Session`.
    fn ended(&self) -> PyResult<Vec<Py<Operation>>> {
        self.0.with(|connection| Ok(std::mem::take(&mut connection.hosted.ended)))
    }

    /// The client begins more than the host may have under way: ends all.
    fn flooded(&self) -> PyResult<()> {
        self.0.with(|connection| {
            let error = GraphQlError::new("TOO_MANY_OPERATIONS", "too many operations are under way");
            connection.protocol.end(&error);
            Ok(())
        })
    }

    /// The interval of keep-alive is over. An answer of an engine that is closed ends.
    fn keep_alive(&self) -> PyResult<()> {
        self.0.with(|connection| {
            if connection.core.engine.is_closed() {
                let error = GraphQlError::new("ENGINE_CLOSED", "the server is closing: subscribe again");
                connection.protocol.end(&error);
            } else {
                connection.protocol.keep_alive();
            }
            Ok(())
        })
    }

    /// Who the client is does not hold any more: ends all.
    fn expire(&self) -> PyResult<()> {
        self.0.with(|connection| {
            connection.core.engine.count_authentication(Ruling::Denied);
            let error =
                GraphQlError::new("TOKEN_EXPIRED", "the token has expired: connect again with a new one");
            connection.protocol.end(&error);
            Ok(())
        })
    }

    /// The bytes of up to `limit` results, after what goes before them; nothing if nothing is ready.
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.0.with(|connection| guarded(|| connection.take(limit)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Whether the answer ends with what was taken.
    #[getter]
    fn over(&self) -> PyResult<bool> {
        self.0.with(|connection| Ok(connection.protocol.is_over()))
    }

    /// The client is gone, or the answer ended: ends the subscriptions. Later calls do nothing. Safe to repeat.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.close(py)
    }
}

impl Connection {
    fn receive(
        &mut self,
        py: Python<'_>,
        exchange: &http::Exchange,
        request: Request,
        context: &SecurityContext,
    ) -> Result<Option<Py<Operation>>, Refusal> {
        let id = match exchange.ask() {
            Ask::Run { .. } => exchange.operation_id(&request)?,
            _ => ONLY.to_owned(),
        };
        let operation = self.protocol.start(&id)?;
        let begun = exchange.resume(&request).map_err(|error| vec![error]).and_then(|resume| {
            let subscribe = Subscribe::new(operation.clone(), request);
            let order = Order { subscribe, resume, context: Some(context.security().clone()) };
            self.begin(py, &order)
        });
        let errors = match begun {
            Ok(asked) => return Ok(asked),
            Err(errors) => errors,
        };
        if let Some(refusal) = exchange.refusal(&errors) {
            self.protocol.forget(&operation);
            return Err(refusal);
        }
        self.protocol.failed(&operation, &errors);
        Ok(None)
    }

    fn take(&mut self, limit: usize) -> Vec<u8> {
        let Self { protocol: stream, subscriber, hosted, .. } = self;
        let mut bytes = stream.take();
        let mut ended = Vec::new();
        if stream.is_over() {
            // Nothing may follow the end of an answer.
            hosted.texts.clear();
        } else {
            // Nothing more is sent of what the engine has ended, the host's results among it.
            subscriber.drain_ended(|delivery| {
                if !stream.is_over() {
                    stream.write(&delivery, &mut bytes);
                    hosted.ended(delivery.id);
                }
            });
            hosted.texts.drain(..).for_each(|(_, text)| bytes.extend(text));
            subscriber.drain(limit, |delivery| {
                if !stream.is_over() {
                    stream.write(&delivery, &mut bytes);
                    if matches!(delivery.content, Content::Closed(_)) {
                        ended.push(delivery.id.to_owned());
                    }
                }
            });
        }
        for id in &ended {
            hosted.ended(id);
        }
        bytes
    }
}

fn closed() -> Refusal {
    Refusal::new(503, "ENGINE_CLOSED", "the server is closing: try again")
}
