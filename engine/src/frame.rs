//! A payload addressed to one subscription: what a ring holds.
