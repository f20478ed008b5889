//! One answer over HTTP that carries results: events, events of several operations, parts, or one result whole.
//!
//! [`Stream`] knows the operations of an answer and writes them down. A host feeds it what its subscriber has and the
//! ticks of its timer, sends what it wrote, and ends the answer when the stream is over. Where the protocols are open:
//!
//! - An operation that fails as a whole is a result with errors, then `complete`; in a multipart answer the errors
//!   that come after it began stand beside a `payload` of `null`.
//! - A loss that ends a subscription (`Overflow::Disconnect`) ends the answer without `complete`, so that clients come
//!   back and resume.
//! - An event's `id` is the cursor of its result. Events of several operations have none: there a browser could send
//!   back only the last one of all.

use std::{collections::HashMap, sync::Arc};

use super::{http::Refusal, machine::Operation, multipart, sse, whole::Media, write};
use crate::{
    error::{GraphQlError, LimitExceeded},
    limits::Limits,
    subscriber::{Content, Delivery},
};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Server-sent events of one operation.
    Events,
    /// Server-sent events of any number of operations, with their ids.
    SharedEvents,
    /// Parts of `multipart/mixed`, of one operation.
    Parts,
    /// The result of a query or mutation, alone.
    Whole(Media),
}

impl Form {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Events | Self::SharedEvents => "text/event-stream; charset=utf-8",
            Self::Parts => r#"multipart/mixed;boundary="graphql";subscriptionSpec=1.0"#,
            Self::Whole(media) => media.content_type(),
        }
    }
}

/// How deep a result nests what the host made of it.
const ENVELOPE_DEPTH: usize = 2;

/// The state of one answer. It knows neither sockets nor clocks.
///
/// ```
/// use coulis::{limits::Limits, protocol::stream::{Form, Stream}};
/// let mut stream = Stream::new(Form::Events, &Limits::default());
/// let operation = stream.start("1").unwrap();
/// assert_eq!(stream.take(), b":\n\n");
/// stream.completed(&operation);
/// assert_eq!(stream.take(), b"event: complete\ndata:\n\n");
/// assert!(stream.is_over());
/// ```
#[derive(Debug)]
pub struct Stream {
    form: Form,
    limits: Limits,
    /// The number of each open operation.
    operations: HashMap<Arc<str>, u64>,
    numbered: u64,
    /// What is to be sent before results.
    waiting: Vec<u8>,
    /// A result or an error of this stream was written.
    begun: bool,
    over: bool,
    status: u16,
}

impl Stream {
    /// An answer that begins with a sign of life, on which servers send its head and browsers say that it is open.
    pub fn new(form: Form, limits: &Limits) -> Self {
        let mut stream = Self {
            form,
            limits: limits.clone(),
            operations: HashMap::new(),
            numbered: 0,
            waiting: Vec::new(),
            begun: false,
            over: false,
            status: 200,
        };
        if form == Form::Parts {
            stream.waiting.extend_from_slice(multipart::OPENING);
        }
        stream.write_sign_of_life();
        stream
    }

    /// Opens an operation; its id is taken from now on.
    ///
    /// # Errors
    /// The stream is over, the id is taken, there are `subscriptions_per_subscriber_max` operations, or the client does not read.
    pub fn start(&mut self, id: &str) -> Result<Operation, Refusal> {
        if self.over {
            let message = "the stream has ended: reserve another one";
            return Err(Refusal::new(404, "STREAM_NOT_FOUND", message));
        }
        if self.operations.contains_key(id) {
            let message = format!("the operation `{id}` exists already: choose another id, or stop it first");
            return Err(Refusal::new(409, "ALREADY_EXISTS", message));
        }
        let max = self.limits.subscriptions_per_subscriber_max;
        LimitExceeded::check("subscriptions_per_subscriber_max", self.operations.len() + 1, max)?;
        LimitExceeded::check("message_bytes_max", self.waiting.len(), self.limits.message_bytes_max)?;
        let operation = Operation { id: id.into(), number: self.numbered };
        self.numbered += 1;
        self.operations.insert(Arc::clone(&operation.id), operation.number);
        Ok(operation)
    }

    /// Whether the operation is neither ended by the server nor by the client.
    pub fn is_open(&self, operation: &Operation) -> bool {
        self.operations.get(&operation.id) == Some(&operation.number)
    }

    /// Frees an operation that was not started after all, without a word in the stream.
    pub fn forget(&mut self, operation: &Operation) {
        self.free(operation);
    }

    /// Ends an operation with errors. An empty list tells of an internal error.
    pub fn failed(&mut self, operation: &Operation, errors: &[GraphQlError]) {
        if self.free(operation) {
            let mut out = std::mem::take(&mut self.waiting);
            self.write_errors(&mut out, operation.id(), errors);
            self.waiting = out;
        }
    }

    /// The same with errors that the host has written: `errors` is a JSON array with one object at least.
    pub fn failed_with(&mut self, operation: &Operation, errors: &str) {
        if self.free(operation) {
            let mut out = std::mem::take(&mut self.waiting);
            self.write_error_list(&mut out, operation.id(), errors);
            self.waiting = out;
        }
    }

    /// A result that the host has made, as it is to be sent after what `take` hands out.
    pub fn result(&mut self, operation: &Operation, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_result(&mut out, operation.id(), None, body);
        out
    }

    /// Ends an operation that has sent all its results.
    pub fn completed(&mut self, operation: &Operation) {
        if self.free(operation) {
            let mut out = std::mem::take(&mut self.waiting);
            self.write_complete(&mut out, operation.id());
            self.waiting = out;
        }
    }

    /// The client stops an operation: frees its id and says `complete`. `None` if none is open under this id.
    pub fn stop(&mut self, id: &str) -> Option<Operation> {
        let (id, &number) = self.operations.get_key_value(id)?;
        let operation = Operation { id: Arc::clone(id), number };
        self.completed(&operation);
        Some(operation)
    }

    /// Ends all operations with `error`, and the answer.
    pub fn end(&mut self, error: &GraphQlError) {
        let mut open: Vec<_> = self.operations.drain().collect();
        open.sort_by_key(|(_, number)| *number);
        let mut out = std::mem::take(&mut self.waiting);
        // What is not sent yet would be a second result.
        if matches!(self.form, Form::Whole(_)) {
            out.clear();
        }
        for (id, _) in open {
            self.write_errors(&mut out, &id, std::slice::from_ref(error));
        }
        self.waiting = out;
        self.over = true;
    }

    /// The keep-alive interval is over: a sign of life, unless something waits to be sent.
    pub fn keep_alive(&mut self) {
        if !self.over && self.waiting.is_empty() {
            self.write_sign_of_life();
        }
    }

    /// What is to be sent before results.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.waiting)
    }

    /// Appends a delivery.
    pub fn write(&mut self, delivery: &Delivery<'_>, out: &mut Vec<u8>) {
        match delivery.content {
            Content::Result(payload) => {
                let body = payload.body();
                // Without logs there are no cursors, and what looks like one is of the publisher.
                let cursor = if self.limits.log_events_max > 0 { cursor(body) } else { None };
                self.write_result(out, delivery.id, cursor, body);
            }
            Content::Resumed(resumed) => {
                let cursor = resumed.cursor.map(|cursor| cursor.to_string());
                self.write_result(out, delivery.id, cursor.as_deref(), resumed.body().as_bytes());
            }
            Content::Gap(gap) => self.write_result(out, delivery.id, None, gap.body().as_bytes()),
            Content::Ended(gap) => {
                self.write_result(out, delivery.id, None, gap.body().as_bytes());
                self.operations.clear();
                self.over = true;
                if self.form == Form::Parts {
                    let error = GraphQlError::new("TOO_SLOW", "results were lost: subscribe again");
                    multipart::write_fatal(out, &write::graphql_errors(&[error]));
                    out.extend_from_slice(multipart::CLOSING);
                }
            }
            Content::Closed(end) => {
                let error = GraphQlError::new(end.code(), end.message());
                self.operations.remove(delivery.id);
                self.write_errors(out, delivery.id, &[error]);
            }
        }
    }

    /// Whether the answer ends with what was written.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The status of the answer: known when it is over, where it is one result, and 200 before that.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// How results are written.
    pub fn form(&self) -> Form {
        self.form
    }

    fn write_sign_of_life(&mut self) {
        match self.form {
            Form::Parts => multipart::write_heartbeat(&mut self.waiting),
            Form::Events | Form::SharedEvents => self.waiting.extend_from_slice(sse::COMMENT),
            Form::Whole(_) => {}
        }
    }

    fn write_result(&mut self, out: &mut Vec<u8>, id: &str, cursor: Option<&str>, result: &[u8]) {
        self.begun = true;
        match self.form {
            Form::Events => sse::write_next(out, cursor, None, result),
            Form::SharedEvents => sse::write_next(out, None, Some(id), result),
            Form::Parts => multipart::write_result(out, result),
            Form::Whole(media) => {
                self.status =
                    media.status(result, self.limits.event_depth_max.saturating_add(ENVELOPE_DEPTH));
                out.extend_from_slice(result);
            }
        }
    }

    fn write_errors(&mut self, out: &mut Vec<u8>, id: &str, errors: &[GraphQlError]) {
        let internal = [GraphQlError::new("INTERNAL_SERVER_ERROR", "Internal server error")];
        let errors = if errors.is_empty() { &internal } else { errors };
        self.write_error_list(out, id, &write::graphql_errors(errors));
    }

    fn write_error_list(&mut self, out: &mut Vec<u8>, id: &str, errors: &str) {
        if self.form == Form::Parts && self.begun {
            multipart::write_fatal(out, errors);
        } else {
            let result = format!(r#"{{"errors":{errors}}}"#);
            self.write_result(out, id, None, result.as_bytes());
        }
        self.write_complete(out, id);
    }

    fn write_complete(&mut self, out: &mut Vec<u8>, id: &str) {
        match self.form {
            Form::SharedEvents => return sse::write_complete(out, Some(id)),
            Form::Events => sse::write_complete(out, None),
            Form::Parts => out.extend_from_slice(multipart::CLOSING),
            Form::Whole(_) => {}
        }
        self.over = true;
    }

    fn free(&mut self, operation: &Operation) -> bool {
        self.is_open(operation) && self.operations.remove(&operation.id).is_some()
    }
}

/// The cursor at the end of a result, where the engine puts it behind all that is of the publisher.
fn cursor(body: &[u8]) -> Option<&str> {
    let rest = body.strip_suffix(br#""}}}"#)?;
    let start = rest.iter().rposition(|&byte| byte == b'"')? + 1;
    let (before, cursor) = rest.split_at(start);
    let known = before.ends_with(br#""cursor":""#);
    let plain = cursor.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'.');
    std::str::from_utf8(cursor).ok().filter(|_| known && plain)
}

#[cfg(test)]
mod tests;
