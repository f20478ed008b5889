//! Coulis gets events to GraphQL subscribers: publish, match, render, deliver.
//!
//! The engine starts no async runtime, does no I/O and knows no Python. The rooms below stand in reading order; a
//! room imports only from rooms before it.

mod sync;

pub mod error;
pub mod id;
pub mod limits;
pub mod value;

pub mod metrics;
pub mod notifier;
pub mod payload;
pub mod ring;

pub mod event;
pub mod frame;
pub mod policy;

pub mod plan;
pub mod security;

pub(crate) mod shard;

pub mod router;

pub mod envelope;

pub(crate) mod control;

pub mod bus;
pub mod protocol;
pub mod subscriber;

pub mod engine;

pub mod docs;

#[cfg(all(test, not(coulis_loom)))]
mod simulation;
