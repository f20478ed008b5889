//! Rates of delivery: what passes, what is withheld, and what its reader and the publisher learn of it.

use coulis::{
    engine::{Engine, EngineBuilder, SubscribeRequest},
    event::Event,
    limits::Limits,
    overflow::Overflow,
    security::{DeliveryRates, SecurityContext, rate::Rate},
    subscriber::{Content, GapReason, OwnedContent, Subscriber},
};
use coulis_tests::{Kept, build, event, event_for, publish, read, reader, request, request_for};

const QUERY: &str = "subscription { x { n } }";

/// So slow that no token comes while a test runs.
fn rate(burst: u32) -> Option<Rate> {
    Some(Rate::new(1e-6, burst).expect("a rate"))
}

/// On one shard and on four, where events and readers are on different ones.
fn on_shards(rates: DeliveryRates, test: impl Fn(Engine)) {
    on_engines(|| Engine::builder().delivery_rates(rates), test);
}

fn on_engines(builder: impl Fn() -> EngineBuilder, test: impl Fn(Engine)) {
    for shards in [1, 4] {
        test(build(builder().shards(shards)));
    }
}

fn number(n: usize) -> Event {
    event("x", &format!(r#"{{"n":{n}}}"#))
}

fn result(id: &str, n: usize) -> String {
    format!(r#"{id} {{"data":{{"x":{{"n":{n}}}}}}}"#)
}

fn gap(id: &str, from: usize, to: usize, reason: &str) -> String {
    let count = to - from + 1;
    format!(
        r#"{id} {{"data":null,"extensions":{{"coulis":{{"gap":{{"from":{from},"to":{to},"count":{count},"reason":"{reason}"}}}}}}}}"#
    )
}

/// `matched` is exactly what became of it; answers how much was withheld by a rate.
fn withheld(engine: &Engine) -> u64 {
    let metrics = engine.metrics();
    let lost = metrics.coalesced + metrics.dropped + metrics.discarded + metrics.failed;
    assert_eq!(metrics.pending(), 0, "{metrics:?}");
    assert_eq!(metrics.matched, metrics.delivered + lost + metrics.denied + metrics.rate_limited);
    metrics.rate_limited
}

fn for_user(id: &str, tenant: &str, user: &str) -> SubscribeRequest {
    request_for(id, QUERY, tenant, user)
}

#[test]
fn a_subscription_gets_its_burst_and_is_told_of_the_rest() {
    on_shards(DeliveryRates { subscription: rate(2), ..DeliveryRates::default() }, |engine| {
        let mut reader = reader(&engine, [request("a", QUERY), request("b", QUERY)]);
        let reports: Vec<_> = (1..=5).map(|n| publish(&engine, number(n))).collect();
        let seen: Vec<_> = reports.iter().map(|report| (report.delivered, report.rate_limited)).collect();
        assert_eq!(seen, [(2, 0), (2, 0), (0, 2), (0, 2), (0, 2)]);
        let mut lines = read(&mut reader);
        lines.sort();
        let each = |id| [gap(id, 3, 5, "rate"), result(id, 1), result(id, 2)];
        let mut wanted = [each("a"), each("b")].concat();
        wanted.sort();
        assert_eq!(lines, wanted);
        assert_eq!(withheld(&engine), 6);
    });
}

#[test]
fn the_next_frame_is_preceded_by_the_gap() {
    // A token comes each millisecond, and the test waits until one has come.
    let rate = Rate::new(1_000.0, 1).expect("a rate");
    on_shards(DeliveryRates { subscription: Some(rate), ..DeliveryRates::default() }, |engine| {
        let mut reader = reader(&engine, [request("a", QUERY)]);
        let (mut sent, mut refused, mut passed) = (0, 0, 0);
        // Until one passes behind one that was refused.
        while refused == 0 || passed == 0 {
            assert!(sent < 10_000_000, "no token comes, or they all do");
            sent += 1;
            let report = publish(&engine, number(sent));
            refused += report.rate_limited;
            passed = if report.rate_limited > 0 { 0 } else { passed + u64::from(refused > 0) };
        }
        let lines = read(&mut reader);
        assert_eq!(lines.last(), Some(&result("a", sent)));
        let before = &lines[lines.len() - 2];
        assert!(before.contains("\"gap\"") && before.contains(r#""reason":"rate""#), "{before}");
        assert_eq!(withheld(&engine), refused);
    });
}

#[test]
fn a_user_a_tenant_and_a_connection_share_their_rate_among_all_that_is_theirs() {
    let rates = DeliveryRates { user: rate(3), tenant: rate(5), ..DeliveryRates::default() };
    on_shards(rates, |engine| {
        let mut one = reader(&engine, [for_user("a", "t", "u"), for_user("b", "t", "u")]);
        let mut two = reader(&engine, [for_user("c", "t", "u"), for_user("d", "t", "v")]);
        // Neither user nor tenant: nothing of this is theirs.
        let mut nobody = reader(&engine, [request("n", QUERY)]);
        let reports: Vec<_> = (1..=4).map(|n| publish(&engine, number(n))).collect();
        let passed: u64 = reports.iter().map(|report| report.delivered).sum();
        assert_eq!(passed, 5 + 4, "five of the tenant, of whom three of the user; and all of nobody's");
        let results =
            |reader: &mut Subscriber| read(reader).iter().filter(|line| !line.contains("gap")).count();
        assert_eq!(results(&mut nobody), 4);
        assert_eq!(results(&mut one) + results(&mut two), 5);
        assert_eq!(withheld(&engine), 11);
    });
    // A user is one within a tenant.
    on_shards(DeliveryRates { user: rate(2), ..DeliveryRates::default() }, |engine| {
        let mut reader = reader(&engine, [for_user("a", "t", "u"), for_user("b", "s", "u")]);
        (1..=3).for_each(|n| _ = publish(&engine, number(n)));
        assert_eq!(read(&mut reader).iter().filter(|line| !line.contains("gap")).count(), 4);
    });
    let rates = DeliveryRates { subscriber: rate(3), ..DeliveryRates::default() };
    on_shards(rates, |engine| {
        let mut one = reader(&engine, [request("a", QUERY), request("b", QUERY)]);
        let mut two = reader(&engine, [request("c", QUERY)]);
        (1..=3).for_each(|n| _ = publish(&engine, number(n)));
        let results =
            |reader: &mut Subscriber| read(reader).iter().filter(|line| !line.contains("gap")).count();
        assert_eq!((results(&mut one), results(&mut two)), (3, 3));
        assert_eq!(withheld(&engine), 3);
    });
}

#[test]
fn what_the_policy_denies_takes_no_token() {
    on_shards(DeliveryRates { subscription: rate(2), ..DeliveryRates::default() }, |engine| {
        let asked = SubscribeRequest { policies: vec!["event.n > 2".into()], ..for_user("a", "t", "u") };
        let mut reader = reader(&engine, [asked]);
        // Denied, of another tenant, without an answer; then what is for it.
        publish(&engine, number(1));
        publish(&engine, event_for("x", r#"{"n":9}"#, "other", ""));
        publish(&engine, event("x", r#"{"n":"3"}"#));
        publish(&engine, event("x", "{}"));
        (3..=5).for_each(|n| _ = publish(&engine, number(n)));
        assert_eq!(read(&mut reader), [result("a", 3), result("a", 4), gap("a", 7, 7, "rate")]);
        assert_eq!(withheld(&engine), 1);
    });
}

#[test]
fn a_loss_ends_a_subscription_that_bears_none() {
    on_shards(DeliveryRates { subscription: rate(1), ..DeliveryRates::default() }, |engine| {
        let mut reader =
            reader(&engine, [SubscribeRequest { overflow: Overflow::Disconnect, ..request("a", QUERY) }]);
        (1..=3).for_each(|n| _ = publish(&engine, number(n)));
        let mut ends = Vec::new();
        reader.drain(usize::MAX, |delivery| {
            if let Content::Ended(gap) = delivery.content {
                ends.push(gap.body());
            }
        });
        assert_eq!(ends, [gap("", 1, 3, "rate").trim()]);
        assert!(!reader.has("a"));
        assert_eq!(withheld(&engine), 2);
    });
}

#[test]
fn a_replay_takes_tokens_too() {
    on_shards(DeliveryRates { subscription: rate(2), ..DeliveryRates::default() }, |engine| {
        let mut first =
            reader(&engine, [SubscribeRequest { resume: Some(String::new()), ..request("a", QUERY) }]);
        let content = first.next_timeout(std::time::Duration::from_secs(30)).expect("an answer").content;
        let OwnedContent::Resumed(resumed) = content else { panic!("{content:?}") };
        let cursor = resumed.cursor.expect("a position").to_string();
        (1..=5).for_each(|n| _ = publish(&engine, number(n)));
        let mut again = reader(&engine, [SubscribeRequest { resume: Some(cursor), ..request("a", QUERY) }]);
        // The replay comes when it comes: what is told of the rest may be told in parts.
        let (mut results, mut missing) = (0, 0);
        while missing < 3 {
            let next = again.next_timeout(std::time::Duration::from_secs(30)).expect("three are missing");
            match next.content {
                OwnedContent::Resumed(resumed) => assert_eq!(resumed.result, Ok(())),
                OwnedContent::Result(_) => results += 1,
                OwnedContent::Gap(gap) => {
                    assert_eq!(gap.reason, GapReason::Rate);
                    missing += gap.count;
                }
                content => panic!("{content:?}"),
            }
        }
        assert_eq!((results, missing), (2, 3));
        read(&mut first);
        assert_eq!(withheld(&engine), 6);
    });
}

#[test]
fn results_of_resolvers_take_tokens_when_they_come() {
    on_shards(DeliveryRates { subscription: rate(1), ..DeliveryRates::default() }, |engine| {
        let kept = Kept::asynchronous();
        let mut reader =
            reader(&engine, [SubscribeRequest { resolver: Some(kept.clone()), ..request("a", QUERY) }]);
        let receipts: Vec<_> = (1..=2).map(|n| engine.publish(number(n)).expect("a receipt")).collect();
        receipts.iter().for_each(|receipt| _ = receipt.wait());
        for _ in 0..2 {
            kept.next().expect("a job").answer(Ok(br#"{"n":7}"#.to_vec()));
        }
        let reports: Vec<_> = receipts.iter().map(coulis::engine::Receipt::wait_all).collect();
        assert_eq!((reports[0].delivered, reports[1].rate_limited), (1, 1));
        assert_eq!(read(&mut reader), [result("a", 7), gap("a", 2, 2, "rate")]);
        assert_eq!(withheld(&engine), 1);
    });
}

#[test]
fn a_new_context_has_the_rate_of_its_own_user() {
    on_shards(DeliveryRates { user: rate(1), ..DeliveryRates::default() }, |engine| {
        let mut reader = reader(&engine, [request("a", QUERY)]);
        (1..=2).for_each(|n| _ = publish(&engine, number(n)));
        let user = |name| SecurityContext::new(coulis::id::Identity::new(name), None);
        assert_eq!(reader.refresh(user("u")), 0);
        (3..=4).for_each(|n| _ = publish(&engine, number(n)));
        assert_eq!(reader.refresh(user("v")), 0);
        (5..=6).for_each(|n| _ = publish(&engine, number(n)));
        let lines = read(&mut reader);
        let results = [1, 2, 3, 5].map(|n| result("a", n));
        assert_eq!(lines.iter().filter(|line| !line.contains("gap")).cloned().collect::<Vec<_>>(), results);
        assert_eq!(lines.len(), 6, "two gaps: {lines:?}");
        assert_eq!(withheld(&engine), 2);
    });
}

#[test]
fn a_full_ring_and_a_rate_are_told_apart() {
    let limits = || Limits { ring_frames_max: 8, ..Limits::default() };
    let rates = DeliveryRates { subscription: rate(10), ..DeliveryRates::default() };
    on_engines(
        || Engine::builder().limits(limits()).delivery_rates(rates),
        |engine| {
            let mut reader = reader(&engine, [request("a", QUERY)]);
            (1..=12).for_each(|n| _ = publish(&engine, number(n)));
            let mut wanted = vec![gap("a", 1, 2, "overflow")];
            wanted.extend((3..=10).map(|n| result("a", n)));
            wanted.push(gap("a", 11, 12, "rate"));
            assert_eq!(read(&mut reader), wanted);
            assert_eq!((withheld(&engine), engine.metrics().dropped), (2, 2));
        },
    );
}

#[test]
fn a_key_without_room_for_its_bucket_gets_nothing() {
    let limits = || Limits { rate_keys_max: 1, ..Limits::default() };
    let rates = DeliveryRates { user: rate(2), ..DeliveryRates::default() };
    on_engines(
        || Engine::builder().limits(limits()).delivery_rates(rates),
        |engine| {
            let mut first = reader(&engine, [for_user("a", "", "u")]);
            publish(&engine, number(1));
            let mut second = reader(&engine, [for_user("b", "", "v")]);
            publish(&engine, number(2));
            assert_eq!(read(&mut first), [result("a", 1), result("a", 2)]);
            assert_eq!(read(&mut second), [gap("b", 1, 2, "rate").replace(r#""count":2"#, r#""count":1"#)]);
            assert_eq!(withheld(&engine), 1);
        },
    );
}
