//! Buses: carriers of events between processes, and the `MessagePack` forms of events and of what readers get.

pub mod feed;
pub mod frame;
#[cfg(feature = "redis")]
pub mod redis;
pub mod retry;
pub mod wire;
