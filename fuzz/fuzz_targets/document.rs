//! An event's document, against serde_json.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coulis_tests::fuzz::document(bytes));
