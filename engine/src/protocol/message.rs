//! Reads what a client sends: one JSON text becomes one message, or the close that it deserves.

use super::close::{Close, CloseCode};
use crate::{
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
    /// The payload is the JSON text to echo.
    Ping {
        payload: Option<String>,
    },
    Pong,
    Subscribe {
        id: String,
        request: Request,
    },
    Complete {
        id: String,
    },
}

/// The payload of `subscribe`.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) query: String,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Value,
    pub(super) extensions: Option<Value>,
}

/// What is wrong with a message, for the reason of a 4400.
struct Malformed(String);

impl From<Malformed> for Close {
    fn from(Malformed(reason): Malformed) -> Self {
        Self::new(CloseCode::InvalidMessage, reason)
    }
}

/// Reads one message, O(its length).
pub(super) fn read(message: Message, limits: &Limits) -> Result<ClientMessage, Close> {
    let Message::Text(text) = message else {
        return Err(Malformed("message must be text, not binary".into()).into());
    };
    if text.len() > limits.message_bytes_max {
        return Err(CloseCode::MessageTooBig.into());
    }
    let document = Document::parse_bytes(text, limits.message_depth_max)
        .map_err(|error| Malformed(error.to_string()))?;
    Ok(typed(document.root(), limits)?)
}

fn typed(message: Node<'_>, limits: &Limits) -> Result<ClientMessage, Malformed> {
    if message.entries().is_none() {
        return Err(Malformed("message must be a JSON object".into()));
    }
    match &*string(message, "type", "type")? {
        "connection_init" => {
            Ok(ClientMessage::Init { payload: tree(object(message, "payload", "payload")?)? })
        }
        "ping" => Ok(ClientMessage::Ping {
            payload: object(message, "payload", "payload")?.map(|payload| payload.raw().into()),
        }),
        "pong" => object(message, "payload", "payload").map(|_| ClientMessage::Pong),
        "subscribe" => Ok(ClientMessage::Subscribe { id: id(message, limits)?, request: request(message)? }),
        "complete" => Ok(ClientMessage::Complete { id: id(message, limits)? }),
        only @ ("connection_ack" | "next" | "error") => {
            Err(Malformed(format!("a message of type `{only}` is sent by servers only")))
        }
        unknown => Err(Malformed(format!("unknown message type `{unknown}`"))),
    }
}

fn id(message: Node<'_>, limits: &Limits) -> Result<String, Malformed> {
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

fn request(message: Node<'_>) -> Result<Request, Malformed> {
    let Some(payload) = object(message, "payload", "payload")? else {
        return Err(Malformed("`payload` must be an object".into()));
    };
    Ok(Request {
        query: string(payload, "query", "payload.query")?,
        operation_name: present(payload, "operationName")
            .map(|_| string(payload, "operationName", "payload.operationName"))
            .transpose()?,
        variables: tree(object(payload, "variables", "payload.variables")?)?
            .unwrap_or_else(|| Value::Object(Vec::new())),
        extensions: tree(object(payload, "extensions", "payload.extensions")?)?,
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

fn tree(node: Option<Node<'_>>) -> Result<Option<Value>, Malformed> {
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
