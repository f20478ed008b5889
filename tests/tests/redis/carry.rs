//! What the bus carries while nothing fails.

use std::{thread, time::Duration};

use coulis::{
    bus::Bus as _,
    event::{Event, Federation},
    id::Identity,
    limits::Limits,
};
use coulis_adapters::{
    feed::Position,
    redis::{RedisBus, RedisConfig},
};
use coulis_tests::{
    event,
    servers::{
        redis::{Keeps, Redis},
        until,
    },
};

use super::{Node, Record, config, numbered};

#[test]
fn every_node_gets_every_event_once_in_one_order_at_the_same_offsets() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let nodes = [Node::of(&server), Node::of(&server)];
    thread::scope(|scope| {
        for (node, first) in nodes.iter().zip([0, 1_000]) {
            scope.spawn(move || node.publish(first..first + 200));
        }
    });
    nodes.iter().for_each(|node| node.wait_for(400));
    let [one, other] = nodes.each_ref().map(|node| node.numbers());
    assert_eq!(one, other);
    for first in [0, 1_000] {
        let own: Vec<_> = one.iter().filter(|number| (first..first + 200).contains(*number)).collect();
        assert!(own.iter().is_sorted() && own.len() == 200, "{own:?}");
    }
    for node in &nodes {
        let offsets: Vec<_> = node.seen().arrived.iter().map(|(at, _)| at.offset).collect();
        assert_eq!(offsets, (1..=400).collect::<Vec<_>>());
        assert_eq!(node.seen().begins.len(), 1);
    }
    assert_eq!(nodes[0].epoch(), nodes[1].epoch());
}

#[test]
fn many_events_are_taken_at_once_in_order() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    let events: Vec<_> = (0..10_000).map(numbered).collect();
    let answers = node.bus.publish_many(&events);
    assert!(answers.len() == 10_000 && answers.iter().all(Result::is_ok), "{answers:?}");
    node.wait_for(10_000);
    assert_eq!(node.numbers(), (0..10_000).collect::<Vec<_>>());
    let health = node.bus.health();
    assert_eq!((health.accepted, health.received, health.buffered), (10_000, 10_000, 0));
    assert_eq!((health.gaps, health.malformed, health.reconnects, health.error), (0, 0, 0, None));
}

#[test]
fn what_is_left_in_the_buffer_arrives() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    (0..1_000).for_each(|number| node.bus.enqueue(&numbered(number)).unwrap());
    node.wait_for(1_000);
    assert_eq!(node.numbers(), (0..1_000).collect::<Vec<_>>());
    until("all is accepted", || node.bus.health().accepted == 1_000 && node.bus.health().buffered == 0);
}

#[test]
fn an_event_keeps_everything_that_it_has() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    let limits = Limits::default();
    let federation = Federation { service: Identity::new("s"), id: Identity::new("7") };
    let all = Event::new("changed", "orders", br#"{"id": 1,  "n": 1e400}"#.to_vec(), &limits)
        .and_then(|event| event.with_before(b"null".to_vec(), &limits))
        .and_then(|event| event.with_id("mine", &limits))
        .unwrap();
    let all = all.with_tenant(Identity::new("t")).with_user(Identity::new("u"));
    node.bus.publish(&all.with_federation(federation.clone())).unwrap();
    node.publish([5]);
    node.wait_for(2);
    let seen = node.seen();
    let event = &seen.arrived[0].1;
    assert_eq!((event.event_type(), event.channel(), event.id()), ("changed", "orders", Some("mine")));
    assert_eq!(event.document().text(), r#"{"id": 1,  "n": 1e400}"#);
    assert_eq!(event.before().unwrap().text(), "null");
    assert_eq!(
        event.tenant().zip(event.user()),
        Identity::new("t").as_ref().zip(Identity::new("u").as_ref())
    );
    assert_eq!(event.federation(), Some(&federation));
    // An event without a name gets one of its bus.
    assert!(seen.arrived[1].1.id().is_some_and(|id| id.len() > 32));
}

#[test]
fn an_event_of_a_megabyte_passes_and_a_larger_one_is_refused() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let most = Limits::default().event_bytes_max;
    let events: Vec<_> = (0..20).map(|_| event("orders", &text(most))).collect();
    assert!(node.bus.publish_many(&events).iter().all(Result::is_ok));
    node.wait_for(20);
    let wide = Limits { event_bytes_max: most + 1, ..Limits::default() };
    let larger = Event::new("test", "orders", text(most + 1).into(), &wide).unwrap();
    let error = node.bus.publish(&larger).unwrap_err();
    assert!(error.reason.contains("event_bytes_max") && !error.transient && !error.unknown, "{error:?}");
}

#[test]
fn a_node_that_starts_late_gets_the_history_up_to_its_bound() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    node.publish(0..100);
    let late = Node::of(&server);
    late.wait_for(100);
    assert_eq!(late.seen().begins, [(Position { epoch: node.epoch(), offset: 0 }, None)]);
    let bounded = Node::start(RedisConfig { history_events_max: 10, ..config(server.port()) });
    bounded.wait_for(10);
    assert_eq!(bounded.seen().begins, [(Position { epoch: node.epoch(), offset: 90 }, None)]);
    node.publish([100]);
    late.wait_for(101);
    bounded.wait_for(11);
    assert_eq!(late.numbers(), (0..=100).collect::<Vec<_>>());
    assert_eq!(bounded.numbers(), (90..=100).collect::<Vec<_>>());
}

#[test]
fn an_event_with_an_id_is_taken_once_until_the_id_is_forgotten() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let nodes = [Node::of(&server), Node::of(&server)];
    let named = |id: &str, number: u64| numbered(number).with_id(id, &Limits::default()).unwrap();
    for node in &nodes {
        node.bus.publish(&named("a", 1)).unwrap();
        let answers = node.bus.publish_many(&[named("b", 2), numbered(3), named("b", 4), named("a", 5)]);
        assert!(answers.len() == 4 && answers.iter().all(Result::is_ok), "{answers:?}");
    }
    nodes[0].publish([9]);
    nodes.iter().for_each(|node| node.wait_for(5));
    assert_eq!(nodes[0].numbers(), [1, 2, 3, 3, 9]);
    assert_eq!(nodes[1].numbers(), [1, 2, 3, 3, 9]);

    let short = Node::start(RedisConfig { id_age_max: Duration::from_millis(100), ..config(server.port()) });
    short.bus.publish(&named("c", 10)).unwrap();
    until("the id is forgotten", || server.get(&["EXISTS", "{shop}:id:c"]) == "0");
    short.bus.publish(&named("c", 11)).unwrap();
    nodes[0].wait_for(7);
    assert_eq!(nodes[0].numbers()[5..], [10, 11]);
}

#[test]
fn the_stream_is_trimmed_to_about_its_bound() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::start(RedisConfig { stream_events_max: 500, ..config(server.port()) });
    let events: Vec<_> = (0..5_000).map(numbered).collect();
    assert!(node.bus.publish_many(&events).iter().all(Result::is_ok));
    let late = Node::of(&server);
    until("the history arrives", || late.numbers().last() == Some(&4_999));
    assert!((500..2_000).contains(&late.count()), "{} are kept", late.count());
    assert_eq!(late.numbers(), (5_000 - late.count() as u64..5_000).collect::<Vec<_>>());
    assert!(late.missed().is_empty());
}

/// A batch is one entry; a position may lie within it.
#[test]
fn a_history_may_begin_in_the_middle_of_a_batch() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    let events: Vec<_> = (0..100).map(numbered).collect();
    assert!(node.bus.publish_many(&events).iter().all(Result::is_ok));
    assert!(server.get(&["XLEN", "{shop}:events"]).parse::<u64>().unwrap() < 10, "a batch is few entries");
    for count in [1, 10, 99] {
        let late = Node::start(RedisConfig { history_events_max: count, ..config(server.port()) });
        late.wait_for(count);
        assert_eq!(late.numbers(), (100 - count as u64..100).collect::<Vec<_>>());
        let offset = 100 - count as u64;
        assert_eq!(late.seen().begins, [(Position { epoch: node.epoch(), offset }, None)]);
    }
}

#[test]
fn clusters_of_other_names_share_nothing() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    let other = Node::start(RedisConfig { prefix: "other".into(), ..config(server.port()) });
    other.connected();
    other.publish([1]);
    node.publish([2]);
    other.wait_for(1);
    node.wait_for(1);
    assert_eq!((node.numbers(), other.numbers()), (vec![2], vec![1]));
}

#[test]
fn a_closed_bus_has_sent_what_was_buffered_and_refuses_more() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let reader = Node::of(&server);
    let node = Node::of(&server);
    (0..2_000).for_each(|number| node.bus.enqueue(&numbered(number)).unwrap());
    node.bus.close(Duration::from_secs(20));
    node.bus.close(Duration::ZERO);
    let error = node.bus.publish(&numbered(0)).unwrap_err();
    assert!(error.reason.contains("closed") && !error.transient, "{error:?}");
    assert!(node.bus.enqueue(&numbered(0)).is_err());
    reader.wait_for(2_000);
    assert_eq!(reader.numbers(), (0..2_000).collect::<Vec<_>>());
}

#[test]
fn settings_that_cannot_be_right_are_refused_at_once() {
    let start = |config| RedisBus::start(config, Limits::default(), Box::new(Record::default()));
    let error = start(RedisConfig::new("http://127.0.0.1", "shop")).unwrap_err();
    assert!(error.reason.contains("`http://127.0.0.1`") && !error.transient, "{error:?}");
    let error = start(RedisConfig::new("redis://127.0.0.1", "")).unwrap_err();
    assert!(error.reason.contains("``"), "{error:?}");
}

/// Told as refused, the first event would be published a second time.
#[test]
fn an_id_that_the_server_does_not_note_fails_alone() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let script = concat!(
        include_str!("../../../adapters/src/redis/lua/history.lua"),
        include_str!("../../../adapters/src/redis/lua/publish.lua")
    );
    let keys = ["3", "{shop}:events", "{shop}:producer:a", "{shop}:id:a"];
    let numbers = ["0", "1", "0", "100", "1000", "99999999999999999999"];
    let entries = ["0", "1", "first", "3", "1", "second"];
    let command = [&["EVAL", script][..], &keys, &numbers, &entries].concat();
    let answer = server.ask(&command);
    assert!(answer.contains(&"refused".to_owned()), "{answer:?}");
    assert_eq!(server.get(&["GET", "{shop}:producer:a"]), "1");
    // The epoch's mark, and the first event.
    assert_eq!(server.get(&["XLEN", "{shop}:events"]), "2");
}
