//! Support of the promise tests: oracle, clock, servers.
