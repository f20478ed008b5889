//! One reader: its ring and its subscriptions.
