//! Events as they cross a bus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coulis_tests::fuzz::wire(bytes));
