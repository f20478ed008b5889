//! Documents that keep or break the rules, one row each.
