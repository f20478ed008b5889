//! Coulis gets events to GraphQL subscribers: publish, match, render, deliver.
//!
//! [`docs`] tells how it is used, page by page; whole programs are in `engine/examples/`.
//!
//! The engine starts no async runtime, does no I/O and knows no Python. The rooms below stand in reading order; a
//! room imports only from rooms before it.

#[cfg(all(test, not(coulis_loom)))]
mod random;
mod stack;
mod sync;

pub mod cursor;
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
mod link;
mod loss;
pub mod overflow;
pub mod policy;

pub mod plan;
pub mod security;

pub mod envelope;
pub mod router;

pub(crate) mod shard;

pub(crate) mod control;

pub mod bus;
pub mod protocol;
pub mod subscriber;

pub mod engine;

pub mod docs;

#[cfg(all(test, not(coulis_loom)))]
mod simulation;
