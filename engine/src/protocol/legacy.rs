//! The older protocol of subscriptions-transport-ws, as a dialect of [`Machine`](super::Machine): other words.

use std::collections::VecDeque;

use super::{
    close::{Close, CloseCode},
    machine::Subscribe,
    message::{self, ClientMessage, Malformed, Message},
    write,
};
use crate::{
    envelope,
    error::GraphQlError,
    limits::Limits,
    subscriber::{Content, Delivery},
    value::{Node, Value, quote},
};

/// Operations that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Held {
    waiting: VecDeque<Subscribe>,
    bytes: usize,
}

impl Held {
    /// # Errors
    /// Together they are larger than one message may be: nobody has said yet who this client is.
    pub(super) fn push(&mut self, subscribe: Subscribe, limits: &Limits) -> Result<(), Close> {
        self.bytes += size(&subscribe);
        if self.bytes > limits.message_bytes_max {
            return Err(CloseCode::PolicyViolation.into());
        }
        self.waiting.push_back(subscribe);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Subscribe> {
        let subscribe = self.waiting.pop_front()?;
        self.bytes -= size(&subscribe);
        Some(subscribe)
    }
}

fn size(subscribe: &Subscribe) -> usize {
    let text = |value: &Value| value.to_string().len();
    let names = subscribe.operation.id.len() + subscribe.operation_name.as_ref().map_or(0, String::len);
    let values = text(&subscribe.variables) + subscribe.extensions.as_ref().map_or(0, text);
    size_of::<Subscribe>() + names + subscribe.query.len() + values
}

/// Reads one message, O(its length).
pub(super) fn read(message: Message, limits: &Limits) -> Result<ClientMessage, Close> {
    let document = message::document(message, limits)?;
    let typed = document.and_then(|document| typed(document.root(), limits));
    Ok(typed.unwrap_or_else(|Malformed(reason)| ClientMessage::Unreadable { reason }))
}

fn typed(message: Node<'_>, limits: &Limits) -> Result<ClientMessage, Malformed> {
    match &*message::kind(message)? {
        "connection_init" => Ok(ClientMessage::Init { payload: message::payload(message)? }),
        "connection_terminate" => Ok(ClientMessage::Terminate),
        "start" => message::subscribe(message, limits),
        "stop" => Ok(ClientMessage::Complete { id: message::id(message, limits)? }),
        unknown => Err(Malformed(format!("unknown message type `{unknown}`"))),
    }
}

pub(super) fn connection_error(reason: &str) -> String {
    format!(r#"{{"type":"connection_error","payload":{{"message":{}}}}}"#, quote(reason))
}

pub(super) fn keep_alive() -> String {
    r#"{"type":"ka"}"#.into()
}

/// This protocol's `error` holds one.
pub(super) fn error(id: &str, errors: &[GraphQlError]) -> String {
    let error = errors.first().map_or_else(|| "{}".into(), write::graphql_error);
    format!(r#"{{"id":{},"type":"error","payload":{error}}}"#, quote(id))
}

/// Appends a delivery as `data`, or as `error` if it is the end of its subscription.
pub(super) fn write_data(delivery: &Delivery<'_>, out: &mut Vec<u8>) {
    match delivery.content {
        Content::Closed(end) => {
            let error = GraphQlError::new(end.code(), end.message());
            out.extend_from_slice(self::error(delivery.id, &[error]).as_bytes());
        }
        Content::Result(payload) => envelope::write_data(out, delivery.id_json, payload.body()),
        Content::Gap(gap) | Content::Ended(gap) => {
            envelope::write_data(out, delivery.id_json, gap.body().as_bytes());
        }
        Content::Resumed(resumed) => {
            envelope::write_data(out, delivery.id_json, resumed.body().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
