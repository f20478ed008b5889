//! Result bytes that all readers of a group share.
