//! The breaker: a subscription whose policy or resolver fails too often ends, others go on.

use std::time::Duration;

use coulis::{
    engine::{Engine, SubscribeRequest},
    event::Event,
    limits::Limits,
};
use coulis_tests::{Kept, build, event, publish, read, reader, request};

const QUERY: &str = "subscription { x { n } }";

/// With a breaker for more than two errors in an hour, on one shard and on four.
fn on_shards(test: impl Fn(Engine)) {
    let window = Duration::from_secs(3_600);
    for shards in [1, 4] {
        let limits =
            Limits { subscription_errors_max: 2, subscription_errors_window: window, ..Limits::default() };
        test(build(Engine::builder().shards(shards).limits(limits)));
    }
}

fn asking(id: &str, policy: &str) -> SubscribeRequest {
    SubscribeRequest { policies: vec![policy.into()], ..request(id, QUERY) }
}

fn number(n: u32) -> Event {
    event("x", &format!(r#"{{"n":{n}}}"#))
}

#[test]
fn a_policy_without_answers_ends_its_subscription_and_no_other() {
    on_shards(|engine| {
        let mut reader = reader(&engine, [asking("errs", "event.gone > 0"), asking("denies", "event.n > 9")]);
        (1..=5).for_each(|n| _ = publish(&engine, number(n)));
        let lines = read(&mut reader);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("errs ") && lines[0].contains(r#""code":"TOO_MANY_ERRORS""#),
            "{lines:?}"
        );
        assert!(lines[0].contains("failed 3 times within 3600s"), "{lines:?}");
        assert!(!reader.has("errs") && reader.has("denies"));
        let metrics = engine.metrics();
        assert_eq!((metrics.broken, metrics.policy_errors, metrics.subscriptions), (1, 5, 1));
        // Nobody asks its policy any more.
        publish(&engine, number(10));
        assert_eq!(read(&mut reader), [r#"denies {"data":{"x":{"n":10}}}"#]);
        let metrics = engine.metrics();
        assert_eq!((metrics.policy_errors, metrics.pending()), (5, 0));
    });
}

#[test]
fn as_many_errors_as_are_allowed_and_any_number_of_denials_end_nothing() {
    on_shards(|engine| {
        let mut reader = reader(&engine, [asking("a", "event.m > 0")]);
        (1..=2).for_each(|n| _ = publish(&engine, number(n)));
        (0..20).for_each(|_| _ = publish(&engine, event("x", r#"{"n":1,"m":0}"#)));
        publish(&engine, event("x", r#"{"n":7,"m":1}"#));
        assert_eq!(read(&mut reader), [r#"a {"data":{"x":{"n":7}}}"#]);
        assert_eq!(engine.metrics().broken, 0);
        publish(&engine, number(3));
        assert_eq!(read(&mut reader).len(), 1, "the end");
        assert_eq!(engine.metrics().broken, 1);
        // The id and its place are free again, and start anew.
        engine.subscribe(&mut reader, asking("a", "event.m > 0")).expect("a subscription");
        (1..=2).for_each(|n| _ = publish(&engine, number(n)));
        assert!(read(&mut reader).is_empty());
        assert_eq!((engine.metrics().broken, engine.metrics().pending()), (1, 0));
    });
}

#[test]
fn a_resolver_that_fails_too_often_ends_its_subscription() {
    on_shards(|engine| {
        let kept = Kept::asynchronous();
        let mut reader =
            reader(&engine, [SubscribeRequest { resolver: Some(kept.clone()), ..request("a", QUERY) }]);
        // An answer, an error, what is no JSON, no answer at all.
        for answer in 0..4 {
            let receipt = engine.publish(number(answer)).expect("a receipt");
            receipt.wait();
            let job = kept.next().expect("a job");
            match answer {
                0 => job.answer(Ok(br#"{"n":1}"#.to_vec())),
                1 => job.answer(Err("no".into())),
                2 => job.answer(Ok(b"{".to_vec())),
                _ => drop(job),
            }
            receipt.wait_all();
        }
        let lines = read(&mut reader);
        assert!(lines.iter().any(|line| line.contains("TOO_MANY_ERRORS")), "{lines:?}");
        let metrics = engine.metrics();
        assert_eq!((metrics.broken, metrics.resolver_errors, metrics.subscriptions), (1, 3, 0));
        assert_eq!(metrics.pending(), 0);
    });
}

#[test]
fn nothing_ends_by_default() {
    let engine = coulis_tests::engine(1);
    let mut reader = reader(&engine, [asking("a", "event.gone > 0")]);
    (0..500).for_each(|n| _ = publish(&engine, number(n)));
    assert!(read(&mut reader).is_empty() && reader.has("a"));
    assert_eq!((engine.metrics().policy_errors, engine.metrics().broken), (500, 0));
}
