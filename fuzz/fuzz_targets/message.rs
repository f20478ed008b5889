//! A connection's messages, one a line.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coulis_tests::fuzz::message(bytes));
