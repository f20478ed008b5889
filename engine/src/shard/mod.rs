//! One worker: inbox, index, groups.
