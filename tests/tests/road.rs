//! The road of an event from publish to its readers, through the public API only.

use std::{sync::Arc, thread};

use coulis::{
    engine::{Engine, PublishError, SubscribeError, SubscribeRequest},
    limits::Limits,
    policy::standard::{Isolation, Tenancy},
    subscriber::{Subscriber, SubscriberOptions},
};
use coulis_tests::{Kept, build, engine, event, event_for, publish, read, reader, request, request_for};

const QUERY: &str = "subscription { x }";

#[test]
fn what_is_published_is_readable_when_publish_returns() {
    for shards in [1, 2, 4] {
        let engine = engine(shards);
        let mut readers: Vec<_> = (0..10).map(|_| reader(&engine, [request("a", QUERY)])).collect();
        for number in 1..=3 {
            let report = publish(&engine, event("x", &number.to_string()));
            assert_eq!((report.matched, report.delivered), (10, 10));
        }
        for reader in &mut readers {
            assert_eq!(
                read(reader),
                ["a {\"data\":{\"x\":1}}", "a {\"data\":{\"x\":2}}", "a {\"data\":{\"x\":3}}"]
            );
        }
        let metrics = engine.metrics();
        assert_eq!(
            (metrics.published, metrics.delivered, metrics.rendered),
            (3, 30, 3 * shards.min(10) as u64)
        );
        assert_eq!(metrics.pending(), 0);
    }
}

#[test]
fn other_channels_and_types_do_not_match() {
    let engine = engine(2);
    let mut typed = request("t", QUERY);
    typed.events = vec!["other".into()];
    let mut wild = request("w", QUERY);
    wild.channels = vec!["*".into(), "x".into()];
    let mut reader = reader(&engine, [typed, wild, request("x", QUERY)]);
    publish(&engine, event("y", "1"));
    publish(&engine, event("x", "2"));
    assert_eq!(read(&mut reader).len(), 3, "twice `w`, once `x`");
    assert!(matches!(engine.publish(event("*", "1")), Err(PublishError::Wildcard)));
    assert_eq!(engine.subscriptions_by_channel("x"), ["t", "x"]);
    assert_eq!(engine.subscriptions_by_channel("nowhere"), [""; 0]);
}

#[test]
fn events_stay_with_their_tenant_and_their_owner() {
    let chat = Isolation { owner: None, tenancy: Tenancy::Strict, ..Isolation::default() };
    let engine = build(Engine::builder().shards(2).channel("chat", chat));
    let chats = |mut request: coulis::engine::SubscribeRequest| {
        request.channels = vec!["chat".into(), "x".into()];
        request
    };
    let mut readers: Vec<_> = [("t1", "7"), ("t1", "8"), ("t2", "7"), ("", "")]
        .map(|(tenant, user)| reader(&engine, [chats(request_for("s", QUERY, tenant, user))]))
        .into();
    let mut seen = |event| {
        publish(&engine, event);
        readers.iter_mut().map(|reader| read(reader).len()).collect::<Vec<_>>()
    };
    assert_eq!(seen(event("x", "{}")), [1, 1, 1, 1]);
    assert_eq!(seen(event_for("x", "{}", "t1", "")), [1, 1, 0, 0]);
    assert_eq!(seen(event("x", r#"{"tenant_id":"t1","user_id":7}"#)), [1, 0, 0, 0]);
    assert_eq!(
        seen(event_for("x", r#"{"user_id":"8"}"#, "", "7")),
        [1, 0, 1, 0],
        "the attribute outranks the field"
    );
    assert_eq!(seen(event("x", r#"{"user_id":true}"#)), [0, 0, 0, 0], "what cannot be compared is a no");
    assert_eq!(seen(event("chat", r#"{"user_id":7}"#)), [0, 0, 0, 0], "strict: no tenant, no reader");
    assert_eq!(seen(event_for("chat", r#"{"user_id":7}"#, "t1", "")), [1, 1, 0, 0], "the author is no owner");
    let metrics = engine.metrics();
    assert_eq!((metrics.pending(), metrics.matched), (0, metrics.delivered + metrics.denied));
}

#[test]
fn after_complete_nothing_more_is_delivered() {
    let engine = engine(1);
    let mut reader = reader(&engine, [request("a", QUERY), request("b", QUERY)]);
    publish(&engine, event("x", "1"));
    assert!(reader.cancel("a"));
    assert!(!reader.cancel("a"));
    publish(&engine, event("x", "2"));
    assert_eq!(read(&mut reader), ["b {\"data\":{\"x\":1}}", "b {\"data\":{\"x\":2}}"]);
    engine.subscribe(&mut reader, request("a", QUERY)).unwrap();
    publish(&engine, event("x", "3"));
    assert_eq!(read(&mut reader), ["b {\"data\":{\"x\":3}}", "a {\"data\":{\"x\":3}}"]);
    publish(&engine, event("x", "4"));
    drop(reader);
    publish(&engine, event("x", "5"));
    let metrics = engine.metrics();
    assert_eq!(
        (metrics.pending(), metrics.discarded, metrics.subscriptions, metrics.subscribers),
        (0, 3, 0, 0)
    );
}

#[test]
fn a_slow_reader_loses_its_oldest_frames_and_is_told() {
    let engine = engine(1);
    let options = SubscriberOptions { ring_frames_max: Some(8), ..SubscriberOptions::default() };
    let mut slow = engine.open(options).unwrap();
    engine.subscribe(&mut slow, request("s", QUERY)).unwrap();
    let mut quick = reader(&engine, [request("q", QUERY)]);
    for number in 1..=20 {
        publish(&engine, event("x", &number.to_string()));
    }
    let lines = read(&mut slow);
    let gap = r#"s {"data":null,"extensions":{"coulis":{"gap":{"from":1,"to":12,"count":12,"reason":"overflow"}}}}"#;
    assert_eq!((lines.len(), lines[0].as_str(), lines[1].as_str()), (9, gap, "s {\"data\":{\"x\":13}}"));
    assert_eq!(read(&mut quick).len(), 20);
    let metrics = engine.metrics();
    assert_eq!((metrics.pending(), metrics.dropped, metrics.delivered), (0, 12, 28));
}

#[test]
fn a_quiet_subscription_learns_of_its_loss_without_a_later_event() {
    let engine = engine(1);
    let mut slow = engine.open(SubscriberOptions { ring_frames_max: Some(8), ..Default::default() }).unwrap();
    let mut quiet = request("quiet", QUERY);
    quiet.channels = vec!["quiet".into()];
    engine.subscribe(&mut slow, quiet).unwrap();
    engine.subscribe(&mut slow, request("loud", QUERY)).unwrap();
    publish(&engine, event("quiet", "0"));
    for number in 1..=8 {
        publish(&engine, event("x", &number.to_string()));
    }
    let lines = read(&mut slow);
    let gap = r#"quiet {"data":null,"extensions":{"coulis":{"gap":{"from":1,"to":1,"count":1,"reason":"overflow"}}}}"#;
    assert_eq!((lines.len(), lines[0].as_str()), (9, gap));
    assert!(lines[1..].iter().all(|line| line.starts_with("loud ")), "{lines:?}");
    assert_eq!(engine.metrics().pending(), 0);
}

#[test]
fn resolvers_are_asked_once_and_answers_keep_the_order_of_events() {
    let engine = engine(1);
    let kept = Kept::asynchronous();
    let resolved = |id: &str| {
        let mut request = request(id, QUERY);
        request.resolver = Some(Arc::clone(&kept) as _);
        request
    };
    let mut alone = resolved("alone");
    alone.per_subscription = true;
    let mut reader = reader(&engine, [resolved("a"), resolved("b"), alone]);
    let receipts: Vec<_> =
        (1..=3).map(|number| engine.publish(event("x", &number.to_string())).unwrap()).collect();
    assert_eq!(receipts[2].wait().matched, 3);
    assert!(!receipts[0].is_done());
    let mut jobs: Vec<_> = std::iter::from_fn(|| kept.next()).collect();
    assert_eq!(jobs.len(), 6, "one for `a` and `b`, one for `alone`, for each event");
    jobs.reverse();
    for job in jobs {
        let result = match job.event().document().text() {
            "2" => Err("no two".into()),
            number => Ok(format!("{number}0").into_bytes()),
        };
        job.answer(result);
    }
    receipts.iter().for_each(|receipt| assert_eq!(receipt.wait_all().delivered, 3));
    let lines = read(&mut reader);
    for id in ["a", "b", "alone"] {
        let mine: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix(&format!("{id} "))).collect();
        let failed = r#"{"data":null,"errors":[{"message":"no two","path":["x"]}]}"#;
        assert_eq!(mine, [r#"{"data":{"x":10}}"#, failed, r#"{"data":{"x":30}}"#]);
    }
    publish(&engine, event("x", "4"));
    drop(std::iter::from_fn(|| kept.next()).collect::<Vec<_>>());
    publish(&engine, event("y", "5"));
    assert!(read(&mut reader)[0].contains("the resolver gave no answer"));
    assert_eq!((engine.metrics().pending(), engine.metrics().resolver_errors), (0, 4));
}

#[test]
fn closing_finishes_what_was_accepted_and_refuses_the_rest() {
    for shards in [1, 3] {
        let engine = engine(shards);
        let mut readers: Vec<_> = (0..4).map(|_| reader(&engine, [request("a", QUERY)])).collect();
        let publisher = {
            let engine = engine.clone();
            thread::spawn(move || {
                (0..).take_while(|n| engine.publish(event("x", &n.to_string())).is_ok()).count()
            })
        };
        while read(&mut readers[0]).is_empty() {
            thread::yield_now();
        }
        engine.close();
        engine.close();
        publisher.join().unwrap();
        assert!(matches!(engine.publish(event("x", "1")), Err(PublishError::Closed)));
        let refused = engine.subscribe(&mut readers[0], request("b", QUERY));
        assert_eq!(refused, Err(SubscribeError::Closed));
        readers.iter_mut().for_each(|reader| drop(read(reader)));
        assert_eq!(engine.metrics().pending(), 0);
    }
}

#[test]
fn bounds_are_errors_that_name_themselves() {
    let limits = Limits {
        subscriptions_per_subscriber_max: 2,
        subscribers_max: 1,
        channels_max: 1,
        ..Limits::default()
    };
    let engine = build(Engine::builder().shards(1).limits(limits));
    let mut reader = reader(&engine, [request("a", QUERY), request("b", QUERY)]);
    let error = engine.subscribe(&mut reader, request("c", QUERY)).unwrap_err();
    assert!(error.to_string().contains("`subscriptions_per_subscriber_max` is 2"), "{error}");
    let error = engine.subscribe(&mut reader, request("a", QUERY)).unwrap_err();
    assert_eq!(error.to_string(), "subscription `a` already exists: complete it first or take another id");
    assert!(
        engine.open(SubscriberOptions::default()).unwrap_err().to_string().contains("`subscribers_max` is 1")
    );
    let error = engine.publish(event("another", "1")).unwrap_err();
    assert!(error.to_string().contains("`channels_max` is 1"), "{error}");
    assert!(Engine::builder().shards(65).build().is_err());
}

/// Publishers step shards themselves where they find them at rest; the pinned threads step them where not. Whoever
/// does it, each event is dispatched once, and each publisher's events keep their order.
#[test]
fn publishers_on_many_threads_lose_nothing() {
    const PUBLISHERS: usize = 4;
    const EVENTS: usize = 200;
    for shards in [1, 2] {
        let engine = engine(shards);
        let mut readers: Vec<_> = (0..4).map(|_| reader(&engine, [request("a", QUERY)])).collect();
        thread::scope(|scope| {
            for publisher in 0..PUBLISHERS {
                let engine = &engine;
                scope.spawn(move || {
                    for number in 0..EVENTS {
                        let event = event("x", &format!("[{publisher},{number}]"));
                        if number % 3 == 0 {
                            engine.publish_nowait(event).unwrap();
                        } else {
                            assert_eq!(publish(engine, event).delivered, 4);
                        }
                        // Registrations come and go meanwhile.
                        drop(reader(engine, [request("b", "subscription { y }")]));
                    }
                });
            }
        });
        publish(&engine, event("x", "[]"));
        for reader in &mut readers {
            let lines = read(reader);
            assert_eq!(lines.len(), PUBLISHERS * EVENTS + 1);
            for publisher in 0..PUBLISHERS {
                let own = format!("\"x\":[{publisher},");
                let number =
                    |line: &String| line.split_once(&own)?.1.split_once(']')?.0.parse::<usize>().ok();
                let numbers = lines.iter().filter_map(number);
                assert!(numbers.eq(0..EVENTS), "publisher {publisher}");
            }
        }
        assert_eq!((engine.metrics().pending(), engine.metrics().subscriptions), (0, 4));
    }
}

/// What each reader gets, for some channels, tenants and readers, on so many shards.
fn heard(shards: usize, pin: bool) -> Vec<Vec<String>> {
    let engine = build(Engine::builder().shards(shards).pin(pin));
    let tenants = ["", "red", "blue", "green"];
    let requests = |number: usize| {
        let own = request_for("own", "subscription { x }", tenants[number % 4], "");
        let some = request_for("some", "subscription { x }", tenants[number % 3], "");
        let own = SubscribeRequest { channels: vec![format!("c{}", number % 7)], ..own };
        [own, SubscribeRequest { channels: vec![format!("c{}", number % 5), "c6".into()], ..some }]
    };
    let mut readers: Vec<_> = (0..24).map(|number| reader(&engine, requests(number))).collect();
    let event = |number: usize| {
        event_for(&format!("c{}", number % 7), &format!(r#"{{"x":{number}}}"#), tenants[number % 4], "")
    };
    let (one_by_one, batch): (Vec<_>, Vec<_>) = (0..200).partition(|number| number % 40 < 20);
    for number in one_by_one {
        publish(&engine, event(number));
    }
    for receipt in engine.publish_many(batch.into_iter().map(event).collect()).expect("room") {
        receipt.wait();
    }
    let sorted = |reader: &mut Subscriber| {
        let mut lines = read(reader);
        // Offsets order a channel, nothing orders channels.
        lines.sort();
        lines
    };
    readers.iter_mut().map(sorted).collect()
}

#[test]
fn the_results_do_not_depend_on_the_number_of_shards() {
    let one = heard(1, false);
    assert!(one.iter().all(|lines| !lines.is_empty()));
    for (shards, pin) in [(1, true), (2, false), (2, true), (4, false), (8, false), (8, true)] {
        assert_eq!(heard(shards, pin), one, "{shards} shards, pinned: {pin}");
    }
}
