//! Policies, from text to decision.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

mod bounds;
mod cases;
mod facts;
mod oracle;
mod words;
