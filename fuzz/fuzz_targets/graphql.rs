//! A client's GraphQL documents.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coulis_tests::fuzz::graphql(bytes));
