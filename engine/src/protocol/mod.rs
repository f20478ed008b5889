//! Sub-protocols as pure state machines: messages in, actions out.

mod close;
mod write;

pub use close::{Close, CloseCode, REASON_BYTES_MAX};
pub use write::{escape_id, write_next, write_next_escaped};

/// The token of the sub-protocol. (`graphql-ws`, the token, names the older protocol of another library.)
pub const SUBPROTOCOL: &str = "graphql-transport-ws";

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
