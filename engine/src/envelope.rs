//! A frame as bytes of a protocol.
