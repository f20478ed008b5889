//! Policies, from text to decision.
