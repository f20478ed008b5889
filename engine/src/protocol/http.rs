//! GraphQL over HTTP: what a request asks for, and what is wrong with it. Bytes in, decisions out.
//!
//! Four protocols share one path: "GraphQL over HTTP" (the draft of the GraphQL foundation) for queries and mutations,
//! "GraphQL over Server-Sent Events" in its distinct and in its single connection mode (`PROTOCOL.md` of
//! enisdenjo/graphql-sse), and multipart subscriptions 1.0 of Apollo. `Accept` and the operation tell them apart, as
//! RFC 9110, section 12.5.1 has it; requests are those of "GraphQL over HTTP". Where the texts are open:
//!
//! - `*/*` is JSON for a query or mutation and events for a subscription; so is `application/json` beside
//!   `multipart/mixed`. A token with an `Accept` that does not name events runs an operation.
//! - What is no GraphQL request is refused with a status and JSON; what is wrong with the document, the variables or
//!   the rights is told in the stream, and with 400 where the answer is not the stream.
//! - A body must say that it is JSON: a page of another origin can send any other kind without being asked first.
//! - A query by GET is answered where no page of another origin can have sent it unasked: a browser says that it comes
//!   from here, or a header makes browsers ask first. GET never runs a mutation.
//! - Duplicate keys and parameters, batches and compressed bodies are refused.

use super::{
    accept::{MediaType, Wanted, takes, wanted, wanted_whole},
    message::{self, Malformed, Request},
    parameters::Parameters,
    stream::Form,
    whole::{self, Media},
    write,
};
use crate::{
    error::{GraphQlError, LimitExceeded},
    limits::Limits,
    plan::{self, OperationKind, OperationName},
    value::{Document, Value},
};

/// The header that names a stream; the parameter `token` does it, too.
pub const TOKEN_HEADER: &str = "x-graphql-event-stream-token";

const METHODS: &str = "GET, POST, PUT, DELETE";

/// Headers of which one makes browsers ask first, besides a `Content-Type` of JSON; the names that clients know.
pub const PREFLIGHTED: [&str; 5] = [
    "graphql-require-preflight",
    "apollo-require-preflight",
    "x-apollo-operation-name",
    "graphql-preflight",
    TOKEN_HEADER,
];

const PREFLIGHT_REQUIRED: &str = "any page could have a browser send this GET: send `GraphQL-Require-Preflight: 1` \
                                  or `Content-Type: application/json` with it, or send POST";

const STREAMS: &str = "text/event-stream, multipart/mixed;subscriptionSpec=1.0";
const SERVED: &str = "application/graphql-response+json, application/json, text/event-stream, \
                      multipart/mixed;subscriptionSpec=1.0";

/// What a host knows of the page that sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing: a page of any origin may have, or none.
    Unknown,
    /// It may send what it likes.
    Allowed,
}

/// A header's name and value.
pub type Header<'a> = (&'a [u8], &'a [u8]);

/// What is known of a request before its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The query of the URL, without `?`.
    pub query: &'a [u8],
    /// The headers, names in lower case.
    pub headers: &'a [Header<'a>],
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To run the operation that it holds, and to answer with its results.
    Answer,
    /// A token for a stream.
    Reserve {
        /// A token that the client has already.
        token: Option<String>,
    },
    /// To answer with the stream of this token.
    Open {
        /// Names the stream.
        token: String,
    },
    /// To run the operation that it holds, whose results go to the stream of this token.
    Run {
        /// Names the stream.
        token: String,
    },
    /// To stop an operation of the stream of this token.
    Stop {
        /// Names the stream.
        token: String,
        /// Names the operation.
        operation: String,
    },
}

/// Why a request is not served, as an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    errors: Vec<GraphQlError>,
}

impl Refusal {
    /// A refusal with one error.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, errors: vec![GraphQlError::new(code, message)] }
    }

    /// A refusal with 400, or the status that HTTP has for what is wrong. An empty list tells of an internal error.
    pub fn of(errors: Vec<GraphQlError>) -> Self {
        let Some(first) = errors.first() else {
            return Self::new(500, "INTERNAL_SERVER_ERROR", "Internal server error");
        };
        Self { status: whole::status_of(Some(first.code)), errors }
    }

    /// The methods to name in `Allow`, where the method is what is wrong.
    pub fn allow(&self) -> Option<&'static str> {
        let wrong = self.errors.first()?.code;
        (self.status == 405).then_some(if wrong == OTHER_OPERATION { "POST" } else { METHODS })
    }

    /// The answer's body: JSON, a GraphQL result without data.
    pub fn body(&self) -> String {
        format!(r#"{{"errors":{}}}"#, write::graphql_errors(&self.errors))
    }
}

/// The code of a GET for a mutation.
const OTHER_OPERATION: &str = "OPERATION_NOT_ALLOWED_BY_GET";

impl From<Malformed> for Refusal {
    fn from(Malformed(reason): Malformed) -> Self {
        Self::new(400, "BAD_REQUEST", reason)
    }
}

impl From<LimitExceeded> for Refusal {
    fn from(limit: LimitExceeded) -> Self {
        Self::new(429, "LIMIT_EXCEEDED", limit.to_string())
    }
}

/// One request whose head was read.
///
/// ```
/// use coulis::{limits::Limits, protocol::{http::{Ask, Exchange, Head, Origin}, stream::Form}};
/// let headers: &[(&[u8], &[u8])] = &[(b"accept", b"text/event-stream")];
/// let head = Head { method: "GET", query: b"query=subscription%7Ba%7D", headers };
/// let exchange = Exchange::read(&head, &Limits::default()).unwrap();
/// assert_eq!(exchange.ask(), &Ask::Answer);
/// let request = exchange.request(Vec::new()).unwrap();
/// assert_eq!(request.query, "subscription{a}");
/// assert_eq!(exchange.form(&request, Origin::Unknown), Ok(Form::Events));
/// ```
#[derive(Debug)]
pub struct Exchange {
    ask: Ask,
    parameters: Parameters,
    posted: bool,
    /// The best form for many results, and for one.
    wanted: (Option<Wanted>, Option<Wanted>),
    /// A header says that no page of another origin sent this unasked.
    vouched: bool,
    last_event_id: Option<String>,
    limits: Limits,
}

impl Exchange {
    /// Reads a request's head.
    ///
    /// # Errors
    /// The request is none that is served.
    pub fn read(head: &Head<'_>, limits: &Limits) -> Result<Self, Refusal> {
        if !METHODS.split(", ").any(|method| method == head.method) {
            let message = format!("`{}` is not served: send one of {METHODS}", head.method);
            return Err(Refusal::new(405, "METHOD_NOT_ALLOWED", message));
        }
        check_size("the query of the URL", head.query.len(), 414, limits)?;
        let parameters = Parameters::read(head.query)?;
        let ask = ask(head, &parameters)?;
        let posted = head.method == "POST" && !matches!(ask, Ask::Open { .. });
        if posted {
            check_content(head, limits)?;
        }
        let last_event_id = header(head, "last-event-id")?.filter(|id| !id.is_empty());
        let wanted = wants(header(head, "accept")?.as_deref());
        let (vouched, limits) = (vouched(head)?, limits.clone());
        Ok(Self { ask, parameters, posted, wanted, vouched, last_event_id, limits })
    }

    /// How to answer `request`: by what it asks to run, and what its client takes. `origin` is what the host knows of
    /// the page that sent it.
    ///
    /// # Errors
    /// GET does not run it, or the client takes nothing that it can be answered with.
    pub fn form(&self, request: &Request, origin: Origin) -> Result<Form, Refusal> {
        let name = request.operation_name.clone();
        let name = name.map_or(OperationName::Only, OperationName::Named);
        let kind = plan::kind(&request.query, &name, &self.limits);
        if !self.posted && kind == Some(OperationKind::Mutation) {
            return Err(Refusal::new(405, OTHER_OPERATION, "GET runs no mutations: send POST"));
        }
        if matches!(self.ask, Ask::Run { .. }) {
            return Ok(Form::SharedEvents);
        }
        if !self.posted && kind == Some(OperationKind::Query) && !self.vouched && origin == Origin::Unknown {
            return Err(Refusal::new(403, "PREFLIGHT_REQUIRED", PREFLIGHT_REQUIRED));
        }
        let found = match (self.wanted, kind) {
            ((stream, _), Some(OperationKind::Subscription)) => stream,
            ((Some(stream), Some(whole)), _) => Some(if stream.beats(whole) { stream } else { whole }),
            ((stream, whole), _) => whole.or(stream),
        };
        let served = if kind == Some(OperationKind::Subscription) { STREAMS } else { SERVED };
        found.map(|wanted| wanted.form).ok_or_else(|| not_acceptable(served))
    }

    /// The media type of an answer that is no stream.
    pub fn media(head: &Head<'_>) -> Media {
        let accept = header(head, "accept").ok().flatten();
        match wants(accept.as_deref()).1.map(|wanted| wanted.form) {
            Some(Form::Whole(media)) => media,
            _ => Media::Json,
        }
    }

    /// What is asked for.
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Whether to read a body, of up to `message_bytes_max` bytes.
    pub fn has_body(&self) -> bool {
        self.posted
    }

    /// The request that the body holds, or the URL where there is none; O(its length).
    ///
    /// # Errors
    /// There is none, or it is larger than `message_bytes_max`.
    pub fn request(&self, body: Vec<u8>) -> Result<Request, Refusal> {
        check_size("the body", body.len(), 413, &self.limits)?;
        let text = if self.posted { body } else { self.object()? };
        let document = Document::parse_bytes(text, self.limits.message_depth_max)
            .map_err(|error| Malformed(error.to_string()))?;
        if document.root().entries().is_none() {
            return Err(Malformed("the request must be a JSON object, and no batch".into()).into());
        }
        Ok(message::request(document.root(), "")?)
    }

    /// Where to resume: what a browser that reconnects says by itself, or what the request says.
    ///
    /// # Errors
    /// The request says what is no cursor.
    pub fn resume(&self, request: &Request) -> Result<Option<String>, GraphQlError> {
        let of_events = self.wanted.0.is_some_and(|wanted| wanted.form == Form::Events);
        match (&self.last_event_id, &self.ask) {
            (Some(cursor), Ask::Answer) if of_events => Ok(Some(cursor.clone())),
            _ => request.resume(),
        }
    }

    /// The id that an operation of a shared stream brings along, in `extensions.operationId`.
    ///
    /// # Errors
    /// It is missing, empty, too long or no string.
    pub fn operation_id(&self, request: &Request) -> Result<String, Refusal> {
        let id = request.extensions.as_ref().and_then(|extensions| extensions.get("operationId"));
        match id {
            Some(Value::String(id)) => check_id("extensions.operationId", id, &self.limits),
            Some(_) => Err(Malformed("`extensions.operationId` must be a string".into()).into()),
            None => Err(Malformed("`extensions.operationId` is missing".into()).into()),
        }
    }

    /// The answer to an operation that is refused, where its results would go to another answer.
    pub fn refusal(&self, errors: &[GraphQlError]) -> Option<Refusal> {
        matches!(self.ask, Ask::Run { .. }).then(|| Refusal::of(errors.to_vec()))
    }

    /// The URL's parameters as the object that a body would be.
    fn object(&self) -> Result<Vec<u8>, Malformed> {
        let mut fields = Vec::new();
        // One that is empty is absent.
        let given = |name| self.parameters.get(name).filter(|text| !text.is_empty());
        for name in ["query", "operationName"] {
            if let Some(text) = given(name) {
                fields.push(format!(r#""{name}":{}"#, crate::value::quote(text)));
            }
        }
        for name in ["variables", "extensions"] {
            let Some(text) = given(name) else { continue };
            // Checked by itself: nothing of it may become a part of the object around it.
            Document::parse_bytes(text.as_bytes().to_vec(), self.limits.message_depth_max)
                .map_err(|error| Malformed(format!("`{name}`: {error}")))?;
            fields.push(format!(r#""{name}":{text}"#));
        }
        Ok(format!("{{{}}}", fields.join(",")).into_bytes())
    }
}

fn ask(head: &Head<'_>, parameters: &Parameters) -> Result<Ask, Refusal> {
    let accept = header(head, "accept")?;
    let token = header(head, TOKEN_HEADER)?.or_else(|| parameters.get("token").map(str::to_owned));
    let accept = accept.as_deref().unwrap_or("*/*");
    match head.method {
        "PUT" if takes(accept, "text/plain") => Ok(Ask::Reserve { token }),
        "PUT" => Err(not_acceptable("text/plain")),
        "DELETE" => {
            let token = token.ok_or_else(|| Malformed(format!("the header `{TOKEN_HEADER}` is missing")))?;
            let operation = parameters.get("operationId").filter(|id| !id.is_empty());
            let operation =
                operation.ok_or_else(|| Malformed("the parameter `operationId` is missing".into()))?;
            Ok(Ask::Stop { token, operation: operation.into() })
        }
        _ => match (wanted(accept), token) {
            (Some(wanted), Some(token)) if wanted.named && wanted.form == Form::Events => {
                Ok(Ask::Open { token })
            }
            (Some(wanted), _) if wanted.named => Ok(Ask::Answer),
            (_, Some(token)) => Ok(Ask::Run { token }),
            (None, None) if wanted_whole(accept).is_none() => Err(not_acceptable(SERVED)),
            (_, None) => Ok(Ask::Answer),
        },
    }
}

fn wants(accept: Option<&str>) -> (Option<Wanted>, Option<Wanted>) {
    let accept = accept.unwrap_or("*/*");
    (wanted(accept), wanted_whole(accept))
}

/// Whether a header says that no page of another origin sent this unasked: browsers tell where a page comes from, and
/// ask before they send a header of a page's own (Fetch Standard, section 2.2.2). What they send by themselves, as
/// `Authorization`, is none of these.
fn vouched(head: &Head<'_>) -> Result<bool, Malformed> {
    if let Some(site) = header(head, "sec-fetch-site")? {
        return Ok(matches!(&*site, "same-origin" | "none"));
    }
    for name in PREFLIGHTED {
        if header(head, name)?.is_some_and(|value| !value.is_empty()) {
            return Ok(true);
        }
    }
    let content = header(head, "content-type")?.unwrap_or_default();
    Ok(MediaType::read(&content).essence == "application/json")
}

fn not_acceptable(served: &str) -> Refusal {
    Refusal::new(406, "NOT_ACCEPTABLE", format!("`Accept` names nothing that is served here: {served}"))
}

fn check_content(head: &Head<'_>, limits: &Limits) -> Result<(), Refusal> {
    let unsupported = |message: String| Err(Refusal::new(415, "UNSUPPORTED_MEDIA_TYPE", message));
    let content = header(head, "content-type")?.unwrap_or_default();
    let media = MediaType::read(&content);
    if media.essence != "application/json" {
        return unsupported(format!("`Content-Type` is `{content}`: send application/json"));
    }
    let charset = media.parameter("charset").unwrap_or("utf-8");
    if !charset.eq_ignore_ascii_case("utf-8") {
        return unsupported(format!("`charset` is `{charset}`: send utf-8"));
    }
    match header(head, "content-encoding")? {
        Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
            return unsupported(format!("`Content-Encoding` is `{encoding}`: send the body as it is"));
        }
        _ => {}
    }
    let length = header(head, "content-length")?.and_then(|length| length.parse().ok());
    check_size("the body", length.unwrap_or(0), 413, limits)
}

fn check_size(what: &str, bytes: usize, status: u16, limits: &Limits) -> Result<(), Refusal> {
    let max = limits.message_bytes_max;
    if bytes <= max {
        return Ok(());
    }
    let message = format!("{what} has {bytes} bytes or more, and `message_bytes_max` is {max}");
    Err(Refusal::new(status, "LIMIT_EXCEEDED", message))
}

fn check_id(path: &str, id: &str, limits: &Limits) -> Result<String, Refusal> {
    let max = limits.subscription_id_bytes_max;
    match id.len() {
        0 => Err(Malformed(format!("`{path}` must not be empty")).into()),
        length if length > max => {
            Err(Malformed(format!("`{path}` has {length} bytes, more than {max}")).into())
        }
        _ => Ok(id.to_owned()),
    }
}

/// The value of a header; several are a list (RFC 9110, section 5.3).
fn header(head: &Head<'_>, wanted: &str) -> Result<Option<String>, Malformed> {
    let mut found = Vec::new();
    for (_, value) in head.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())) {
        let value = std::str::from_utf8(value)
            .map_err(|_| Malformed(format!("the header `{wanted}` is not UTF-8")))?
            .trim();
        found.push(value);
    }
    Ok((!found.is_empty()).then(|| found.join(", ")))
}

#[cfg(test)]
mod tests;
