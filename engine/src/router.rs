//! Channel names to numbers and home shards.
