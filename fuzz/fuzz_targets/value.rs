//! A client's variables, written and read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coulis_tests::fuzz::value(bytes));
