//! Sub-protocols as pure state machines: messages in, actions out.
