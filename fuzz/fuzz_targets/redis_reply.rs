//! The answers of a Redis server to a node that reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coulis_tests::fuzz::redis_reply(bytes));
