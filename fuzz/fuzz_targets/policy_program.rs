//! The bytecode of a policy, verified and run.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coulis_tests::fuzz::policy_program(bytes));
