//! Buses: carriers of events between processes, and the `MessagePack` form that events take on them.

pub mod wire;
