//! What stands in the way of an event that a subscription may see: its breaker, its rates, its reader's ring; and the
//! same for events that were published.

use std::thread;

use coulis::{
    cursor::{At, Cursor},
    engine::{Engine, SubscribeRequest, Verdict},
    event::Event,
    id::Offset,
    limits::Limits,
    overflow::Overflow,
    security::{DeliveryRates, rate::Rate},
    subscriber::{Content, Reload, Subscriber, SubscriberOptions},
};
use coulis_tests::{build, event, event_for, publish, read, reader, request, request_for};

const QUERY: &str = "subscription { x { n } }";

fn number(n: usize) -> Event {
    event("x", &format!(r#"{{"n":{n}}}"#))
}

/// So slow that no token comes while a test runs.
fn rate(burst: u32) -> Option<Rate> {
    Some(Rate::new(1e-6, burst).expect("a rate"))
}

#[test]
fn a_rate_is_named_by_whose_it_is_and_not_spent() {
    let rates = [
        ("subscription", DeliveryRates { subscription: rate(2), ..DeliveryRates::default() }),
        ("connection", DeliveryRates { subscriber: rate(2), ..DeliveryRates::default() }),
        ("user", DeliveryRates { user: rate(2), ..DeliveryRates::default() }),
        ("tenant", DeliveryRates { tenant: rate(2), ..DeliveryRates::default() }),
    ];
    for (whose, rates) in rates {
        for shards in [1, 4] {
            let engine = build(Engine::builder().shards(shards).delivery_rates(rates));
            let mut reader = reader(&engine, [request_for("a", QUERY, "t", "u")]);
            let about = |n| engine.explain("a", None, &event_of("t", "u", n));
            for n in 1..=2 {
                (0..5).for_each(|_| assert_eq!(about(n), Verdict::Delivered, "{whose}"));
                assert_eq!(publish(&engine, event_of("t", "u", n)).delivered, 1, "{whose}");
            }
            assert_eq!(about(3), Verdict::Rate(whose));
            assert_eq!(about(3).step(), "rate");
            let told = format!("the rate of its {whose} lets no more results through now");
            assert_eq!(about(3).to_string(), told);
            assert_eq!(publish(&engine, event_of("t", "u", 3)).rate_limited, 1, "{whose}");
            // Who may not see it learns nothing of rates.
            assert_eq!(engine.explain("a", None, &event_of("s", "u", 3)).step(), "policy");
            assert_eq!(read(&mut reader).len(), 3, "{whose}: two results and a gap");
        }
    }
}

fn event_of(tenant: &str, user: &str, n: usize) -> Event {
    event_for("x", &format!(r#"{{"n":{n}}}"#), tenant, user)
}

/// The cursor of a result.
fn cursor(body: &[u8]) -> Cursor {
    let body = String::from_utf8_lossy(body);
    let (_, cursor) = body.split_once(r#""cursor":""#).expect("a cursor");
    cursor.split('"').next().unwrap_or("").parse().expect("a cursor")
}

#[test]
fn a_full_ring_is_told_with_what_happens_then() {
    for overflow in ["drop_oldest", "drop_newest", "disconnect", "latest_per_key(n)"] {
        let overflow: Overflow = overflow.parse().expect("a policy");
        let engine = build(Engine::builder().shards(1));
        let options = SubscriberOptions { ring_frames_max: Some(8), ..SubscriberOptions::default() };
        let mut reader = engine.open(options).expect("a reader");
        let asked = SubscribeRequest { overflow: overflow.clone(), ..request("a", QUERY) };
        engine.subscribe(&mut reader, asked).expect("a subscription");
        let about = |event: Event| engine.explain("a", None, &event);
        for n in 0..8 {
            assert_eq!(about(number(n)), Verdict::Delivered, "{overflow}");
            publish(&engine, number(n));
        }
        let full = Verdict::Ring { waiting: 8, overflow: overflow.clone() };
        assert_eq!(about(number(8)), full);
        assert_eq!(full.step(), "ring");
        assert_eq!(full.to_string(), format!("its reader's ring is full, 8 frames wait: {overflow}"));
        assert_eq!(about(event("y", "{}")).step(), "channel");
        assert_eq!(read(&mut reader).len(), 8, "{overflow}");
        assert_eq!(about(number(8)), Verdict::Delivered, "{overflow}: it has room again");
    }
}

#[test]
fn a_ring_is_full_by_its_bytes_too_and_what_is_kept_for_it_waits() {
    let limits = Limits { ring_bytes_max: 60, ..Limits::default() };
    let engine = build(Engine::builder().shards(1).limits(limits));
    for (overflow, waiting) in [(Overflow::DropNewest, 1), (Overflow::latest_per_key("n"), 2)] {
        let asked = SubscribeRequest { overflow: overflow.clone(), ..request("a", QUERY) };
        let mut reader = reader(&engine, [asked]);
        (0..5).for_each(|n| _ = publish(&engine, number(n)));
        let about = |reader: &Subscriber| engine.explain("a", Some(reader), &number(5));
        assert_eq!(about(&reader), Verdict::Ring { waiting, overflow });
        // What was kept comes once the shard has seen that there is room.
        let mut results = 0;
        while results < waiting {
            results += read(&mut reader).iter().filter(|line| line.contains(r#""data":{"#)).count();
            thread::yield_now();
        }
        assert_eq!(about(&reader), Verdict::Delivered);
    }
}

#[test]
fn the_breaker_is_told_until_its_reader_has_looked() {
    let engine =
        build(Engine::builder().shards(1).limits(Limits { subscription_errors_max: 2, ..Limits::default() }));
    let policy = "event.m > 0";
    let mut reader = reader(
        &engine,
        [SubscribeRequest { policies: vec![policy.into()], ..request("a", QUERY) }, request("b", QUERY)],
    );
    let good = || event("x", r#"{"n":1,"m":1}"#);
    for _ in 0..3 {
        assert_eq!(engine.explain("a", None, &good()), Verdict::Delivered);
        publish(&engine, number(1));
    }
    assert_eq!(engine.explain("a", None, &good()), Verdict::Breaker);
    assert_eq!(engine.explain("b", None, &good()), Verdict::Delivered);
    read(&mut reader);
    assert_eq!(engine.explain("a", None, &good()), Verdict::NotFound);
}

#[test]
fn a_recorded_event_is_explained_as_long_as_it_is_kept() {
    for shards in [1, 4] {
        let limits = Limits { log_events_max: 3, ..Limits::default() };
        let engine = build(Engine::builder().shards(shards).limits(limits));
        let asked = SubscribeRequest { policies: vec!["event.n > 3".into()], ..request("a", QUERY) };
        let mut reader = reader(&engine, [asked]);
        let about = |at| engine.explain_recorded("a", None, "x", at);
        let with = |offset| about(At::Offset(Offset(offset))).map(|verdict| verdict.step());
        assert_eq!(with(1), Err(Reload::Future));
        (1..=5).for_each(|n| _ = publish(&engine, number(n)));
        let wanted = [Err(Reload::Trimmed), Ok("policy"), Ok("delivered"), Ok("delivered")];
        assert_eq!([2, 3, 4, 5].map(with), wanted);
        assert_eq!(with(6), Err(Reload::Future));
        assert_eq!(with(0), Err(Reload::Trimmed));
        let elsewhere = engine.explain_recorded("a", None, "never", At::Offset(Offset(1)));
        assert_eq!(elsewhere, Err(Reload::Future));
        // By the cursor that its result brought.
        let mut cursors = Vec::new();
        reader.drain(usize::MAX, |delivery| {
            if let Content::Result(payload) = delivery.content {
                cursors.push(cursor(payload.body()));
            }
        });
        assert_eq!(cursors.iter().map(|cursor| cursor.offset.0).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(about(At::Cursor(cursors[0])), Ok(Verdict::Delivered));
        let other = build(Engine::builder().shards(1));
        publish(&other, number(1));
        let strange = other.explain_recorded("a", None, "x", At::Cursor(cursors[0]));
        assert_eq!(strange, Err(Reload::Epoch));
        let early = Cursor { offset: Offset(1), ..cursors[0] };
        assert_eq!(about(At::Cursor(early)), Err(Reload::Trimmed));
        engine.close();
        assert_eq!(about(At::Cursor(cursors[0])), Err(Reload::Epoch), "nobody answers any more");
        assert_eq!(engine.explain("a", None, &number(4)).step(), "delivered");
    }
}
