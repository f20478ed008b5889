//! How the bus is, as its threads write it and anybody reads it.

#![expect(
    clippy::disallowed_types,
    reason = "what was wrong last: written when something is, read by people"
)]

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use coulis::bus::Health;

/// Counters that tell no other memory's state, so `Relaxed` is enough for all of them.
#[derive(Debug, Default)]
pub(super) struct State {
    pub reading: AtomicBool,
    pub writing: AtomicBool,
    pub reconnects: AtomicU64,
    pub accepted: AtomicU64,
    pub refused: AtomicU64,
    pub received: AtomicU64,
    pub malformed: AtomicU64,
    pub gaps: AtomicU64,
    /// Events and bytes that wait to be sent.
    pub buffered: AtomicU64,
    pub buffered_bytes: AtomicU64,
    /// Milliseconds, and one more; 0: nothing is held back.
    held_back: AtomicU64,
    error: Mutex<Option<String>>,
}

impl State {
    pub(super) fn failed(&self, reason: String) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    pub(super) fn hold_back(&self, held: Option<Duration>) {
        let millis = held.map_or(0, |held| u64::try_from(held.as_millis()).unwrap_or(u64::MAX - 1) + 1);
        self.held_back.store(millis, Relaxed);
    }

    pub(super) fn health(&self) -> Health {
        Health {
            connected: self.reading.load(Relaxed) && self.writing.load(Relaxed),
            error: self.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            reconnects: self.reconnects.load(Relaxed),
            buffered: self.buffered.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            received: self.received.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
            gaps: self.gaps.load(Relaxed),
            held_back: self.held_back.load(Relaxed).checked_sub(1).map(Duration::from_millis),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Relaxed);
}

pub(super) fn subtract(counter: &AtomicU64, count: usize) {
    counter.fetch_sub(count as u64, Relaxed);
}
