//! What the engine counts.
