//! Wakes a reader once for a batch of frames.
