//! Buses: carriers of events between processes, and the `MessagePack` forms of events and of what readers get.

pub mod feed;
pub mod frame;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod retry;
pub mod wire;
