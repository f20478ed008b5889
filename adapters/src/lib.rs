//! Buses: carriers of events between processes, and the `MessagePack` forms of events and of what readers get.

pub mod feed;
pub mod frame;
pub mod memory;
pub mod node;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
pub mod retry;
pub mod wire;

/// A lock of an adapter's own threads and of publishers, who wait for a carrier anyway.
#[allow(clippy::disallowed_types, reason = "carriers are beyond the engine's data path")]
pub(crate) type Locked<T> = std::sync::Mutex<T>;
