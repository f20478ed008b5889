//! Reads what a client sends: one JSON text becomes one message, or the close that it deserves.

use super::close::{Close, CloseCode};
use crate::{
    error::GraphQlError,
    limits::Limits,
    value::{Document, Node, Value},
};

/// One WebSocket message as it arrived, its fragments joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text message; its bytes need not have been checked to be UTF-8.
    Text(Vec<u8>),
    /// A binary message, which the protocol has no use for.
    Binary,
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into_bytes())
    }
}

/// What a client can say.
#[derive(Debug)]
pub(super) enum ClientMessage {
    Init {
        payload: Option<Value>,
    },
    /// The payload is the JSON text to echo; `renewal` is what it says of a new token.
    Ping {
        payload: Option<String>,
        renewal: Option<Value>,
    },
    Pong,
    Subscribe {
        id: String,
        request: Request,
    },
    Complete {
        id: String,
    },
    /// `connection_terminate` of the older protocol.
    Terminate,
    /// What the older protocol answers, and does not close for.
    Unreadable {
        reason: String,
    },
}

/// A GraphQL request: the payload of `subscribe`, or the body of a request over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The GraphQL document, not yet parsed.
    pub query: String,
    /// The operation to run, if the document has several; `null` is none.
    pub operation_name: Option<String>,
    /// The variables, an object; `null` and absent are an empty one.
    pub variables: Value,
    /// The request's extensions, an object; `null` is none.
    pub extensions: Option<Value>,
}

impl Request {
    /// The wish in `extensions.coulis.resume`: the last cursor seen, or an empty text for `null`, which asks for the
    /// present position; `None` if nothing is said.
    ///
    /// # Errors
    /// It is neither a string nor null.
    pub fn resume(&self) -> Result<Option<String>, GraphQlError> {
        resume(self.extensions.as_ref())
    }
}

pub(super) fn resume(extensions: Option<&Value>) -> Result<Option<String>, GraphQlError> {
    let coulis = extensions.and_then(|extensions| extensions.get("coulis"));
    match coulis.and_then(|coulis| coulis.get("resume")) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(String::new())),
        Some(Value::String(cursor)) => Ok(Some(cursor.clone())),
        Some(_) => {
            let message = "`extensions.coulis.resume` must be a cursor or null";
            Err(GraphQlError::new("BAD_USER_INPUT", message))
        }
    }
}

/// What is wrong with a message, for the reason of a 4400.
#[derive(Debug)]
pub(super) struct Malformed(pub(super) String);

impl From<Malformed> for Close {
    fn from(Malformed(reason): Malformed) -> Self {
        Self::new(CloseCode::InvalidMessage, reason)
    }
}

/// Reads one message, O(its length).
pub(super) fn read(message: Message, limits: &Limits) -> Result<ClientMessage, Close> {
    let document = document(message, limits)?;
    Ok(document.and_then(|document| typed(document.root(), limits))?)
}

/// The text of a message as JSON, or what is wrong with it; only one that is too big closes whatever the protocol.
pub(super) fn document(message: Message, limits: &Limits) -> Result<Result<Document, Malformed>, Close> {
    let Message::Text(text) = message else {
        return Ok(Err(Malformed("message must be text, not binary".into())));
    };
    if text.len() > limits.message_bytes_max {
        return Err(CloseCode::MessageTooBig.into());
    }
    let document = Document::parse_bytes(text, limits.message_depth_max);
    Ok(document.map_err(|error| Malformed(error.to_string())))
}

/// The type of a message.
pub(super) fn kind(message: Node<'_>) -> Result<String, Malformed> {
    if message.entries().is_none() {
        return Err(Malformed("message must be a JSON object".into()));
    }
    string(message, "type", "type")
}

fn typed(message: Node<'_>, limits: &Limits) -> Result<ClientMessage, Malformed> {
    match &*kind(message)? {
        "connection_init" => Ok(ClientMessage::Init { payload: payload(message)? }),
        "ping" => {
            let payload = object(message, "payload", "payload")?;
            let renewal = payload.and_then(|payload| payload.get("coulis"));
            let renewal = tree(renewal.filter(|renewal| renewal.get("token").is_some()))?;
            Ok(ClientMessage::Ping { payload: payload.map(|payload| payload.raw().into()), renewal })
        }
        "pong" => object(message, "payload", "payload").map(|_| ClientMessage::Pong),
        "subscribe" => Ok(subscribe(message, limits)?),
        "complete" => Ok(ClientMessage::Complete { id: id(message, limits)? }),
        only @ ("connection_ack" | "next" | "error") => {
            Err(Malformed(format!("a message of type `{only}` is sent by servers only")))
        }
        unknown => Err(Malformed(format!("unknown message type `{unknown}`"))),
    }
}

pub(super) fn payload(message: Node<'_>) -> Result<Option<Value>, Malformed> {
    tree(object(message, "payload", "payload")?)
}

pub(super) fn subscribe(message: Node<'_>, limits: &Limits) -> Result<ClientMessage, Malformed> {
    let id = id(message, limits)?;
    let payload = message
        .get("payload")
        .filter(|payload| payload.entries().is_some())
        .ok_or_else(|| Malformed("`payload` must be an object".into()))?;
    Ok(ClientMessage::Subscribe { id, request: request(payload, "payload.")? })
}

pub(super) fn id(message: Node<'_>, limits: &Limits) -> Result<String, Malformed> {
    let id = string(message, "id", "id")?;
    match id.len() {
        0 => Err(Malformed("`id` must not be empty".into())),
        length if length > limits.subscription_id_bytes_max => {
            let max = limits.subscription_id_bytes_max;
            Err(Malformed(format!("`id` has {length} bytes, more than {max}")))
        }
        _ => Ok(id),
    }
}

/// The request that the object `of` holds; errors name its fields behind `path`.
pub(super) fn request(of: Node<'_>, path: &str) -> Result<Request, Malformed> {
    let path = |key: &str| format!("{path}{key}");
    Ok(Request {
        query: string(of, "query", &path("query"))?,
        operation_name: present(of, "operationName")
            .map(|_| string(of, "operationName", &path("operationName")))
            .transpose()?,
        variables: tree(object(of, "variables", &path("variables"))?)?
            .unwrap_or_else(|| Value::Object(Vec::new())),
        extensions: tree(object(of, "extensions", &path("extensions"))?)?,
    })
}

/// The string under `key`, which the message calls `path`.
fn string(of: Node<'_>, key: &str, path: &str) -> Result<String, Malformed> {
    let value = of.get(key).ok_or_else(|| Malformed(format!("`{path}` is missing")))?;
    match value.as_str() {
        Some(text) => Ok(text.into_owned()),
        None => Err(Malformed(format!("`{path}` must be a string"))),
    }
}

/// The object under `key`; absent and `null` are the same.
fn object<'a>(of: Node<'a>, key: &str, path: &str) -> Result<Option<Node<'a>>, Malformed> {
    match present(of, key) {
        Some(value) if value.entries().is_none() => {
            Err(Malformed(format!("`{path}` must be an object or null")))
        }
        value => Ok(value),
    }
}

fn present<'a>(of: Node<'a>, key: &str) -> Option<Node<'a>> {
    of.get(key).filter(|value| !value.is_null())
}

pub(super) fn tree(node: Option<Node<'_>>) -> Result<Option<Value>, Malformed> {
    node.map(value).transpose()
}

/// A node as a tree; the recursion is bounded by the depth that the document was read with.
fn value(node: Node<'_>) -> Result<Value, Malformed> {
    if let Some(text) = node.as_str() {
        return Ok(Value::String(text.into_owned()));
    }
    if let Some(entries) = node.entries() {
        let entry =
            |(key, of): (Node<'_>, Node<'_>)| Ok((key.as_str().unwrap_or_default().into_owned(), value(of)?));
        return entries.map(entry).collect::<Result<_, _>>().map(Value::Object);
    }
    if let Some(items) = node.items() {
        return items.map(value).collect::<Result<_, _>>().map(Value::List);
    }
    scalar(node)
}

fn scalar(node: Node<'_>) -> Result<Value, Malformed> {
    if let Some(truth) = node.as_bool() {
        return Ok(Value::Bool(truth));
    }
    if let Some(number) = node.as_i64() {
        return Ok(Value::Int(number));
    }
    match node.as_f64() {
        Some(number) if number.is_finite() => Ok(Value::Float(number)),
        Some(_) => Err(Malformed(format!("a number is beyond the range of a double: {}", node.raw()))),
        None => Ok(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default(message: Message) -> Result<ClientMessage, Close> {
        read(message, &Limits::default())
    }

    fn refusal(message: Message) -> (u16, String) {
        let close = default(message).unwrap_err();
        (close.code(), close.reason().into())
    }

    #[test]
    fn a_message_that_is_not_of_the_protocol_closes_4400_and_says_why() {
        let row = |message: &str, reason: &str| assert_eq!(refusal(message.into()), (4400, reason.into()));
        row("", "invalid JSON: the text ends inside a value, at byte 0");
        row("{", "invalid JSON: the text ends inside a value, at byte 1");
        row(r#"{"type":"ping"} x"#, "invalid JSON: more text after the value, at byte 16");
        row("\u{feff}{\"type\":\"ping\"}", "invalid JSON: a value expected, at byte 0");
        row(r#"{"type":"ping","payload":{"a":NaN}}"#, "invalid JSON: a value expected, at byte 30");
        row(r#"{"type":"ping","type":"pong"}"#, "duplicate key `type`: each key may occur once, at byte 15");
        row(
            r#"{"type":"ping","payload":{"a":1,"\u0061":1}}"#,
            "duplicate key `a`: each key may occur once, at byte 32",
        );
        row(r#"{"type":"ping","x":"\ud800"}"#, "lone surrogate escape: not a character, at byte 20");
        row(&"[".repeat(100_000), "nested deeper than 128 levels, at byte 128");
        for message in ["null", "[]", "1", "true", "\"ping\""] {
            row(message, "message must be a JSON object");
        }
        row("{}", "`type` is missing");
        row(r#"{"type":null}"#, "`type` must be a string");
        row(r#"{"type":["ping"]}"#, "`type` must be a string");
        row(r#"{"type":""}"#, "unknown message type ``");
        row(r#"{"type":"start"}"#, "unknown message type `start`");
        row(r#"{"type":"PING"}"#, "unknown message type `PING`");
        for only in ["connection_ack", "next", "error"] {
            let message = format!(r#"{{"type":"{only}","id":"a","payload":{{}}}}"#);
            row(&message, &format!("a message of type `{only}` is sent by servers only"));
        }
        for of_type in ["ping", "pong", "connection_init"] {
            for payload in ["[]", "\"x\"", "1", "false"] {
                let message = format!(r#"{{"type":"{of_type}","payload":{payload}}}"#);
                row(&message, "`payload` must be an object or null");
            }
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_closes_4400_and_is_named() {
        let row = |message: &str, reason: &str| assert_eq!(refusal(message.into()), (4400, reason.into()));
        for of_type in ["subscribe", "complete"] {
            let of = |id: &str| format!(r#"{{"type":"{of_type}",{id}"payload":{{"query":"{{a}}"}}}}"#);
            row(&of(""), "`id` is missing");
            row(&of(r#""id":1,"#), "`id` must be a string");
            row(&of(r#""id":null,"#), "`id` must be a string");
            row(&of(r#""id":"","#), "`id` must not be empty");
            let long = of(&format!(r#""id":"{}","#, "a".repeat(1025)));
            row(&long, "`id` has 1025 bytes, more than 1024");
        }
        let payload = |payload: &str, reason: &str| {
            row(&format!(r#"{{"id":"a","type":"subscribe","payload":{payload}}}"#), reason);
        };
        row(r#"{"id":"a","type":"subscribe"}"#, "`payload` must be an object");
        payload("null", "`payload` must be an object");
        payload("[]", "`payload` must be an object");
        payload("{}", "`payload.query` is missing");
        payload(r#"{"query":null}"#, "`payload.query` must be a string");
        payload(r#"{"query":1}"#, "`payload.query` must be a string");
        payload(r#"{"query":"{a}","operationName":1}"#, "`payload.operationName` must be a string");
        payload(r#"{"query":"{a}","variables":[]}"#, "`payload.variables` must be an object or null");
        payload(r#"{"query":"{a}","extensions":"x"}"#, "`payload.extensions` must be an object or null");
        payload(
            r#"{"query":"{a}","variables":{"a":1e400}}"#,
            "a number is beyond the range of a double: 1e400",
        );
    }

    #[test]
    fn binary_and_bytes_that_are_not_utf8_close_4400() {
        let reason = |reason: &str| (4400, reason.to_owned());
        assert_eq!(refusal(Message::Binary), reason("message must be text, not binary"));
        assert_eq!(refusal(Message::Text(b"{\"\xff".into())), reason("invalid JSON: not UTF-8, at byte 2"));
    }

    #[test]
    fn the_fields_of_subscribe_are_read() {
        let message = r#"{"type":"subscribe","id":"a","payload":{"query":"{\u0061}","operationName":"N",
        "variables":{"i":-1,"f":1.5,"e":100000000000000000000,"l":[null,true,"s"]},"extensions":{"k":{}}}}"#;
        let Ok(ClientMessage::Subscribe { id, request }) = default(message.into()) else {
            panic!("not read")
        };
        assert_eq!((&*id, &*request.query), ("a", "{a}"));
        assert_eq!(request.operation_name.as_deref(), Some("N"));
        let variables = r#"{"i":-1,"f":1.5,"e":1e20,"l":[null,true,"s"]}"#;
        assert_eq!(request.variables.to_string(), variables);
        assert_eq!(request.extensions.unwrap().to_string(), r#"{"k":{}}"#);
    }

    #[test]
    fn null_and_absent_fields_of_subscribe_are_the_same() {
        for rest in ["", r#","operationName":null,"variables":null,"extensions":null"#] {
            let message = format!(r#"{{"type":"subscribe","id":"a","payload":{{"query":""{rest}}}}}"#);
            let Ok(ClientMessage::Subscribe { request, .. }) = default(message.into()) else {
                panic!("not read")
            };
            assert_eq!((request.operation_name, request.extensions), (None, None));
            assert_eq!(request.variables, Value::Object(Vec::new()));
        }
    }
}
