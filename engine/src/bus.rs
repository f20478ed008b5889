//! The seam to carriers of events between processes.

use std::fmt;

use crate::event::Event;

/// Why a bus did not take an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusError {
    /// What went wrong, for a person.
    pub reason: String,
    /// Whether trying again may help.
    pub transient: bool,
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for BusError {}

/// Carries events between processes. An adapter feeds what it receives to [`crate::engine::Engine::publish`]; a
/// process's own events come back the same way, so that they are dispatched once, in the bus's order.
pub trait Bus: Send + Sync + fmt::Debug {
    /// Hands an event to the carrier; when this returns, the carrier has accepted it.
    ///
    /// # Errors
    /// `BusError` if it has not.
    fn publish(&self, event: &Event) -> Result<(), BusError>;
}
