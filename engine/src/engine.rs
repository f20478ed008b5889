//! The running whole.
