//! The bounded ring between one shard and one reader.
