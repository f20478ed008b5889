//! The text of a policy, compiled, split and run.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coulis_tests::fuzz::policy_text(bytes));
