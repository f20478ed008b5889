//! The kept inputs of the fuzzer, replayed without it; and every cut and many a flip of each.

use std::{fs, path::Path};

use coulis_tests::fuzz;

#[test]
fn documents_are_read_as_the_oracle_reads_them() {
    replay("document", fuzz::document);
}

#[test]
fn values_survive_writing_and_reading() {
    replay("value", fuzz::value);
}

#[test]
fn connections_survive_any_messages() {
    replay("message", fuzz::message);
}

#[test]
fn graphql_documents_are_judged_without_a_crash() {
    replay("graphql", fuzz::graphql);
}

#[test]
fn policies_are_judged_and_run_without_a_crash() {
    replay("policy_text", fuzz::policy_text);
}

#[test]
fn programs_that_are_verified_end() {
    replay("policy_program", fuzz::policy_program);
}

#[test]
fn events_are_what_their_encoding_is() {
    replay("wire", fuzz::wire);
}

#[test]
fn answers_of_redis_are_read_without_a_crash() {
    replay("redis_reply", fuzz::redis_reply);
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let kept = fs::read_dir(&folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let kept: Vec<_> = kept.collect();
    assert!(kept.len() > 3, "the corpus in {} is gone", folder.display());
    for input in kept {
        check(&input);
        for at in 0..input.len() {
            check(&input[..at]);
            for byte in [b'"', b'\\', b'0', b'-', b'{', b']', 0xed] {
                let mut changed = input.clone();
                changed[at] = byte;
                check(&changed);
            }
        }
    }
}
