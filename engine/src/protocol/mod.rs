//! Sub-protocols as pure state machines: messages in, actions out.
//!
//! [`Machine`] is the server side of `graphql-transport-ws`, one per connection. A host (ASGI, a native socket, a
//! test) feeds it the client's messages, the outcomes of its own work and the ticks of its timers, does what each
//! [`Action`] asks, and writes what [`Machine::next_reply`] hands out. Results do not pass through the machine: the
//! host writes them with
//! [`write_next`](crate::envelope::write_next), after the replies that wait and before it ends the operation.
//!
//! The rules are those of the protocol's text (`PROTOCOL.md` of enisdenjo/graphql-ws, "GraphQL over WebSocket
//! Protocol") and of RFC 6455, sections 5.5 and 7.4, for close frames. Where the text is open:
//!
//! - A message is one text frame: binary closes 4400. So do duplicate keys, lone surrogates and nesting beyond
//!   `message_depth_max`, on which JSON readers disagree. Unknown extra fields are ignored.
//! - A message beyond `message_bytes_max` closes 1009 before it is read.
//! - An integer beyond 64 bits becomes the nearest double, as in JavaScript, whose clients write `1e20` without an
//!   exponent. A number beyond a double's range closes 4400; a ping's payload is echoed as it came.
//! - `complete` is ignored for every id that is not open, before the acknowledgement too.
//! - `subscription_id_bytes_max` and the shape of a message are checked first (4400), then the acknowledgement
//!   (4401), then whether the id is taken (4409), then whether the client reads (1008), then
//!   `subscriptions_per_subscriber_max`, which is an `error` of that operation only.
//! - Any message is a sign of life, not only a pong. A ping without one until the next closes 4408, on which
//!   clients reconnect.
//! - After a close nothing is handed out, also not what was queued before it.
//!
//! A client renews its token without a new connection: `{"type":"ping","payload":{"coulis":{"token":"…"}}}`. The host is
//! asked as for `connection_init`, with the object `coulis` as the payload. The answer is
//! `{"type":"pong","payload":{"coulis":{"token":"accepted"}}}`; what the client subscribed to goes on as who it is now. A
//! token that is refused closes 4403, one before the acknowledgement 4401, one that comes while another is decided on 4429.
//! A server that does not know this echoes the ping, so a client sees whether it was understood. A second
//! `connection_init` would be the natural form, and the protocol forbids it.
//!
//! Memory: at most `replies_max` messages wait because of what a client sent, and no more than
//! `message_bytes_max` of their bytes plus the one that went beyond; a client that goes on closes 1008. To these
//! comes one terminal message for each operation that was open then.
//!
//! Over HTTP it is [`http::Exchange`] that reads requests and [`stream::Stream`] that writes answers down.
//!
//! Why not a library: none offers this protocol without I/O. async-graphql's is a `Stream` tied to its executor and
//! Strawberry's an asyncio handler; here ASGI, tests and native sockets share one implementation, and every
//! interleaving of client and host can be tested without a socket or a clock.

mod accept;
mod close;
pub mod http;
mod legacy;
mod machine;
mod message;
mod multipart;
mod parameters;
mod replies;
mod sse;
pub mod stream;
pub mod whole;
mod write;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod rules;

pub use close::{Close, CloseCode, REASON_BYTES_MAX};
pub use machine::{Action, Machine, Operation, Subscribe};
pub use message::{Message, Request};

use crate::{error::GraphQlError, subscriber::Delivery};

/// The token of the sub-protocol. (`graphql-ws`, the token, names the older protocol of another library.)
pub const SUBPROTOCOL: &str = "graphql-transport-ws";

/// The token of the older sub-protocol, of the library subscriptions-transport-ws.
pub const LEGACY_SUBPROTOCOL: &str = "graphql-ws";

/// Which sub-protocol a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// [`SUBPROTOCOL`].
    #[default]
    Modern,
    /// [`LEGACY_SUBPROTOCOL`], for clients that know no other. It is served with these choices:
    ///
    /// - Nothing is started before `connection_init`: `start` without it closes 4401. One that comes while the host
    ///   decides waits for the answer, since clients send it at once.
    /// - A refused `connection_init` is answered with `connection_error`, then closes 1011.
    /// - What cannot be read is answered with `connection_error`; the connection stays.
    /// - `start` with an id that is open ends that operation and starts this one.
    /// - What goes wrong with an operation as a whole is its `error`, with the first of the errors.
    Legacy,
}

impl Dialect {
    /// Appends a delivery as a message: `next` or `data`; the end of a subscription as its `error`.
    pub fn write(self, delivery: &Delivery<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Modern => delivery.write_next(out),
            Self::Legacy => legacy::write_data(delivery, out),
        }
    }

    fn error(self, id: &str, errors: &[GraphQlError]) -> String {
        match self {
            Self::Modern => write::error(id, errors),
            Self::Legacy => legacy::error(id, errors),
        }
    }
}

/// The sub-protocol to answer a handshake with, whatever the order of the offer (RFC 6455, section 4.2.2).
///
/// On `None` accept without a sub-protocol, never with one that was not offered, and close at once with
/// [`CloseCode::SubprotocolNotAcceptable`]: a close before the accept loses its code.
///
/// ```
/// use coulis::protocol::negotiate;
/// assert_eq!(negotiate(["foo", "graphql-transport-ws"]), Some("graphql-transport-ws"));
/// assert_eq!(negotiate(["graphql-ws"]), None);
/// ```
pub fn negotiate<'a>(offered: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    offered.into_iter().any(|token| token == SUBPROTOCOL).then_some(SUBPROTOCOL)
}
