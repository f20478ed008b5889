//! Who the reader is, and what limits hold for it.
