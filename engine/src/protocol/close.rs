//! Why a connection ends: close codes and their reasons.

/// Bytes of a close reason at most: a control frame holds 125, two of them are the code (RFC 6455, section 5.5).
pub const REASON_BYTES_MAX: usize = 123;

/// The codes a server closes with: RFC 6455, section 7.4.1, below 4000, and `CloseCode` of graphql-ws from 4400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// A client of the older protocol said that it ends the connection.
    Normal = 1000,
    /// The server shuts down; clients reconnect.
    GoingAway = 1001,
    /// The client sends and does not read: `replies_max` messages wait for it.
    PolicyViolation = 1008,
    /// A message is larger than `message_bytes_max`.
    MessageTooBig = 1009,
    /// The host refused `connection_init` of the older protocol, whose servers use no codes of their own.
    LegacyRefused = 1011,
    /// A subscription that asked for it lost a result because its client reads too slowly; clients reconnect.
    TooSlow = 4008,
    /// A message is not one of the protocol; the reason names what is wrong with it.
    InvalidMessage = 4400,
    /// `subscribe` before the acknowledgement.
    Unauthorized = 4401,
    /// The host refused `connection_init`.
    Forbidden = 4403,
    /// The client offered no sub-protocol that the server speaks.
    SubprotocolNotAcceptable = 4406,
    /// No `connection_init` in time, or no sign of life after a ping; clients reconnect.
    Timeout = 4408,
    /// `subscribe` with an id that is open.
    SubscriberAlreadyExists = 4409,
    /// A second `connection_init`.
    TooManyInits = 4429,
    /// The host failed.
    InternalError = 4500,
}

impl CloseCode {
    /// The text that goes with this code when there is nothing more to say; graphql-ws sends the same.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "Normal closure",
            Self::GoingAway => "Going away",
            Self::PolicyViolation => "Too many unread messages",
            Self::MessageTooBig => "Message too big",
            Self::TooSlow => "Too slow",
            Self::InvalidMessage => "Invalid message received",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden | Self::LegacyRefused => "Forbidden",
            Self::SubprotocolNotAcceptable => "Subprotocol not acceptable",
            Self::Timeout => "Connection initialisation timeout",
            Self::SubscriberAlreadyExists => "Subscriber already exists",
            Self::TooManyInits => "Too many initialisation requests",
            Self::InternalError => "Internal server error",
        }
    }
}

/// The close frame of a connection: a code, and a reason that fits the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    code: u16,
    reason: String,
}

impl Close {
    /// Closes with `code` and `reason`, which is cut to [`REASON_BYTES_MAX`] bytes between two characters.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self::of(code as u16, reason)
    }

    /// The same with a code of the host's own: 4000 to 4999, or one that RFC 6455 defines (section 7.4).
    pub fn of(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(boundary_at_or_before(&reason, REASON_BYTES_MAX));
        Self { code, reason }
    }

    /// The code as it stands in the frame.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The reason as it stands in the frame.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl From<CloseCode> for Close {
    fn from(code: CloseCode) -> Self {
        Self::new(code, code.reason())
    }
}

fn boundary_at_or_before(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_two_characters() {
        let cut = |reason: String| Close::new(CloseCode::InvalidMessage, reason).reason().len();
        assert_eq!(cut("a".repeat(123)), 123);
        assert_eq!(cut("a".repeat(124)), 123);
        assert_eq!(cut("é".repeat(200)), 122);
        assert_eq!(cut("€".repeat(200)), 123);
        assert_eq!(cut("🦀".repeat(200)), 120);
        assert_eq!(cut(String::new()), 0);
    }
}
