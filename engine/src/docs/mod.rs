//! Long-form documentation.
