//! What one reader and its shard share beside the ring.

use std::sync::OnceLock;

use crossbeam::queue::SegQueue;

use crate::{
    loss::Losses,
    notifier::{Doorbell, Wake},
    sync::{Arc, AtomicBool, AtomicU64, Ordering},
    value::quote,
};

/// Why the engine ends a subscription that its reader did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// What its context says was true until now only.
    Expired,
    /// It was revoked.
    Revoked,
    /// It may not be any more, or cannot be: a code and a message.
    Refused(&'static str, Box<str>),
}

impl End {
    /// A stable word for clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired => "TOKEN_EXPIRED",
            Self::Revoked => "REVOKED",
            Self::Refused(code, _) => code,
        }
    }

    /// The execution result that tells of it, for readers without a protocol: no data, and `errors`.
    pub fn body(&self) -> String {
        let (message, code) = (quote(self.message()), quote(self.code()));
        format!(r#"{{"data":null,"errors":[{{"message":{message},"extensions":{{"code":{code}}}}}]}}"#)
    }

    /// What is told to the client.
    pub fn message(&self) -> &str {
        match self {
            Self::Expired => "the authentication has expired: connect again with a new one",
            Self::Revoked => "the subscription was revoked",
            Self::Refused(_, message) => message,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) doorbell: Doorbell,
    pub(crate) losses: Losses,
    /// Bytes of bodies that the reader took out of the ring.
    read: AtomicU64,
    /// The shard keeps frames aside that found no room.
    kept: AtomicBool,
    /// The shard is gone: nothing more comes.
    over: AtomicBool,
    /// Subscriptions, by number, that the engine has ended; made at the first.
    ended: OnceLock<Box<SegQueue<(u32, End)>>>,
}

impl Link {
    pub(crate) fn new(wake: Wake, lanes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            doorbell: Doorbell::new(wake),
            losses: Losses::new(lanes_max),
            read: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            over: AtomicBool::new(false),
            ended: OnceLock::new(),
        })
    }

    /// The reader's side, its only writer.
    pub(crate) fn count_read(&self, bytes: u64) {
        self.read.store(self.read.load(Ordering::Relaxed) + bytes, Ordering::Release);
    }

    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    /// The shard's side, when it kept something. It must look for room once more after this: the swaps are ordered,
    /// so either the reader sees the flag, or this side sees the room that the reader made.
    pub(crate) fn keep(&self) {
        self.kept.swap(true, Ordering::AcqRel);
    }

    /// The shard's last word.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.doorbell.ring();
    }

    /// The control side: tells the reader that a subscription of it has ended.
    pub(crate) fn end_one(&self, subscription: u32, end: End) {
        self.ended.get_or_init(Box::default).push((subscription, end));
        self.doorbell.ring();
    }

    /// The reader's side: a subscription that the engine has ended.
    pub(crate) fn take_ended(&self) -> Option<(u32, End)> {
        self.ended.get()?.pop()
    }

    /// Whether what is in the ring now is all that there will be.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The reader's side, after it made room: whether the shard waits for that.
    pub(crate) fn take_kept(&self) -> bool {
        self.kept.swap(false, Ordering::AcqRel)
    }
}
