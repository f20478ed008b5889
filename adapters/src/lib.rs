//! Buses: carriers of events between processes, and the `MessagePack` forms of events and of what readers get.
//!
//! A bus gives what comes from its carrier to a [`feed::Sink`]; a [`node::Node`] is one that feeds an engine. [`memory`]
//! is the shortest one to read; `redis` and `postgres` are features.
//!
//! # What a subscriber sees of a fault
//!
//! A publisher goes on meanwhile, and publishes again what nobody knows the fate of, under the same event id. Each cell is a
//! test against a real server (`tests/tests/outages.rs`, `redis/`, `postgres/`).
//!
//! | fault | Redis Streams (`appendfsync always`) | PostgreSQL |
//! |---|---|---|
//! | server killed, restarted | every event once, in order; no gap | the same |
//! | server stopped for longer than an answer may take | the same, later | the same |
//! | connections reset, or refused for a time | the same | the same |
//! | a black hole | the same; the publisher hears that the fate is unknown | the same |
//! | cut in the middle of an answer | the same | the same |
//! | 200 ms for each way | the same, later | the same |
//! | wrong password, missing right | nothing; health and the publisher name it; then everything | the same |
//! | no memory (`maxmemory`), a full disk | what is refused is refused by name, what was accepted arrives | the same |
//! | history trimmed before it was read | a gap with the exact number of events | a gap |
//! | history lost, or restored from a copy | a gap; cursors of before are refused (`epoch`) | the same |
//! | Pub/Sub mode: connection lost | a gap, always: nobody knows what was missed | – |

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
