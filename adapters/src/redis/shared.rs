//! What a bus and its two threads share: counters, how the connections are, and the end.

#![expect(clippy::disallowed_types, reason = "taken when a connection comes or goes, not for events")]

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use coulis::bus::{BusError, Health};

use super::link::Closer;

/// Which of the two threads speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Write = 0,
    Read = 1,
}

/// Counters have one writer each, or are added to; they order nothing.
#[derive(Debug)]
pub(super) struct Shared {
    shown: String,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) gaps: AtomicU64,
    status: Mutex<Status>,
    over: flume::Receiver<()>,
}

#[derive(Debug)]
struct Status {
    up: [bool; 2],
    closers: [Option<Closer>; 2],
    reconnects: u64,
    /// Why there is no connection.
    trouble: Option<String>,
    /// What else was wrong last.
    complaint: Option<String>,
    /// Gone at the end.
    going: Option<flume::Sender<()>>,
}

impl Shared {
    /// `shown` is the server's address for a person.
    pub(super) fn new(shown: String) -> Self {
        let (going, over) = flume::bounded(0);
        let status = Status {
            up: [false; 2],
            closers: [None, None],
            reconnects: 0,
            trouble: None,
            complaint: None,
            going: Some(going),
        };
        let [accepted, refused, received, malformed, gaps] = Default::default();
        Self { shown, accepted, refused, received, malformed, gaps, status: Mutex::new(status), over }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_disconnected()
    }

    /// Waits, or until the end.
    pub(super) fn wait(&self, time: Duration) {
        _ = self.over.recv_timeout(time);
    }

    /// Keeps the means to end a connection; ends it now if this is the end.
    pub(super) fn connecting(&self, side: Side, closer: Closer) {
        let mut status = self.lock();
        if status.going.is_none() {
            closer.close();
        }
        status.closers[side as usize] = Some(closer);
    }

    pub(super) fn up(&self, side: Side) {
        let mut status = self.lock();
        status.up[side as usize] = true;
        if status.up == [true; 2] {
            status.trouble = None;
        }
    }

    /// A connection is gone, or could not be made; at the end that is as it should be.
    pub(super) fn down(&self, side: Side, reason: impl std::fmt::Display) {
        let mut status = self.lock();
        let was_up = status.up == [true; 2];
        status.up[side as usize] = false;
        status.closers[side as usize] = None;
        if status.going.is_some() {
            status.reconnects += u64::from(was_up);
            status.trouble = Some(format!("{}: {reason}", self.shown));
        }
    }

    /// Something is wrong, although the server answers.
    pub(super) fn complain(&self, reason: impl std::fmt::Display) {
        self.lock().complaint = Some(format!("{}: {reason}", self.shown));
    }

    /// Ends waits and connections.
    pub(super) fn end(&self) {
        let mut status = self.lock();
        status.going = None;
        status.closers.iter().flatten().for_each(Closer::close);
    }

    /// What a publisher is told whose event was not answered in time.
    pub(super) fn unanswered(&self, sent: bool) -> BusError {
        let status = self.lock();
        let why = status.trouble.as_deref().unwrap_or("the server is busy").to_owned();
        let reason = if sent { "sent, and not answered" } else { "not sent" };
        BusError { reason: format!("{reason}: {why}"), transient: true, unknown: sent }
    }

    pub(super) fn health(&self, buffered: usize) -> Health {
        let status = self.lock();
        Health {
            connected: status.up == [true; 2],
            error: status.trouble.as_ref().or(status.complaint.as_ref()).cloned(),
            reconnects: status.reconnects,
            buffered: buffered as u64,
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            received: self.received.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
            gaps: self.gaps.load(Relaxed),
            held_back: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
