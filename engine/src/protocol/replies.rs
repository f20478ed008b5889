//! The protocol messages that wait to be written to one connection, in order.

use std::collections::VecDeque;

use crate::limits::Limits;

/// A queue that says when it is full and leaves the consequence to its owner.
#[derive(Debug, Default)]
pub(super) struct Replies {
    waiting: VecDeque<String>,
    bytes: usize,
}

impl Replies {
    pub(super) fn push(&mut self, reply: String) {
        self.bytes += reply.len();
        self.waiting.push_back(reply);
    }

    pub(super) fn pop(&mut self) -> Option<String> {
        let reply = self.waiting.pop_front()?;
        self.bytes -= reply.len();
        Some(reply)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a client must read before it may cause another reply. Bytes count too: a ping's echo is as large as
    /// the ping.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.waiting.len() >= limits.replies_max || self.bytes > limits.message_bytes_max
    }
}
