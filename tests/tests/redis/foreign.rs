//! Producers that are no nodes, and what is no event.

use std::thread;

use coulis::bus::Bus as _;
use coulis_adapters::redis::RedisConfig;
use coulis_tests::servers::{
    GUARD,
    redis::{Keeps, Redis},
    until,
};

use super::{Node, Record, config};

fn leave(server: &Redis, fields: &[&str]) {
    let answer = server.ask(&[&["XADD", "{shop}:in", "*"], fields].concat());
    assert!(answer[0].starts_with('$'), "{answer:?}");
}

#[test]
fn what_is_left_in_the_inlet_arrives_once_on_every_node() {
    let server = Redis::start(Keeps::Nothing, &[]);
    // Some before there is a node.
    for number in 0..5 {
        leave(&server, &["channel", "orders", "type", "left", "data", &number.to_string()]);
    }
    let nodes = [Node::of(&server), Node::of(&server), Node::of(&server)];
    nodes[0].wait_for(5);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 5..200 {
                leave(&server, &["channel", "orders", "type", "left", "data", &number.to_string()]);
            }
        });
        scope.spawn(|| nodes[1].publish(1_000..1_200));
    });
    nodes.iter().for_each(|node| node.wait_for(400));
    let [one, other, third] = nodes.each_ref().map(|node| node.numbers());
    assert_eq!((&one, &one), (&other, &third));
    let left: Vec<_> = one.iter().copied().filter(|number| *number < 1_000).collect();
    assert_eq!(left, (0..200).collect::<Vec<_>>());
    assert_eq!(server.get(&["XLEN", "{shop}:in"]), "0");
    let ids = nodes.each_ref().map(|node| {
        let seen = node.seen();
        seen.arrived.iter().map(|(_, event)| event.id().unwrap().to_owned()).collect::<Vec<_>>()
    });
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "an event has one name everywhere");
}

/// However much is left there, what is in the stream has its turn.
#[test]
fn a_full_inlet_stops_no_reader() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let fill = "for n = 0, 999 do
        redis.call('XADD', KEYS[1], '*', 'channel', 'orders', 'type', 'left', 'data', n)
    end";
    server.ask(&["EVAL", fill, "1", "{shop}:in"]);
    let node = Node::with_record(config(server.port()), Record::shut());
    until("something is read", || node.is_waiting());
    assert_ne!(server.get(&["XLEN", "{shop}:in"]), "0");
    node.open();
    node.wait_for(1_000);
    assert_eq!(node.numbers(), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn fields_of_the_inlet_become_those_of_the_event() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    let all = ["channel", "orders", "type", "changed", "data", r#"{"n": 2}"#, "before", r#"{"n": 1}"#];
    let all = [&all[..], &["tenant", "t", "user", "u", "id", "mine"]].concat();
    leave(&server, &all);
    leave(&server, &all);
    leave(&server, &["data", "3", "type", "changed", "channel", "orders"]);
    node.wait_for(2);
    let seen = node.seen();
    let event = &seen.arrived[0].1;
    assert_eq!((event.channel(), event.event_type(), event.id()), ("orders", "changed", Some("mine")));
    assert_eq!((event.tenant().unwrap().as_str(), event.user().unwrap().as_str()), ("t", "u"));
    assert_eq!(event.before().unwrap().text(), r#"{"n": 1}"#);
    // The second one has an id that was seen.
    assert_eq!(seen.arrived[1].1.document().text(), "3");
}

#[test]
fn what_can_be_no_event_is_removed_and_counted() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    leave(&server, &["channel", "orders", "type", "left"]);
    leave(&server, &["channel", "orders", "type", "left", "data", "1", "colour", "red"]);
    leave(&server, &["channel", "orders", "type", "left", "data", "1", "data", "2"]);
    let long = "x".repeat(3 << 20);
    leave(&server, &["channel", "orders", "type", "left", "data", &long]);
    let many: Vec<_> = (0..20_000).map(|number| number.to_string()).collect();
    leave(&server, &many.iter().map(String::as_str).collect::<Vec<_>>());
    leave(&server, &["channel", "orders", "type", "left", "data", "7"]);
    node.wait_for(1);
    until("they are counted", || node.bus.health().malformed == 5);
    assert_eq!(server.get(&["XLEN", "{shop}:in"]), "0");
    assert_eq!(node.numbers(), [7]);
    assert!(node.missed().is_empty());
}

#[test]
fn entries_that_are_no_events_are_counted_and_leave_no_hole() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    node.publish([1]);
    let any = format!("{}-*", node.epoch());
    for fields in [["e", "junk"], ["e", "\u{97}"], ["x", "y"], ["channel", "orders"]] {
        server.ask(&[&["XADD", "{shop}:events", &any], &fields[..]].concat());
    }
    // What is left in the inlet is looked at by those who read it, too.
    leave(&server, &["channel", "orders", "type", "left", "data", "{no"]);
    node.wait_for(1);
    until("all is moved", || node.bus.health().malformed == 5);
    node.publish([2]);
    node.wait_for(2);
    assert_eq!(node.numbers(), [1, 2]);
    let offsets: Vec<_> = node.seen().arrived.iter().map(|(at, _)| at.offset).collect();
    assert_eq!(offsets, [1, 7]);
    assert!(node.missed().is_empty());
    assert!(node.bus.health().error.is_some_and(|why| why.contains("is left out")));
}

/// A stranger may leave more than an answer may have.
#[test]
fn an_inlet_with_more_than_an_answer_may_have_is_emptied() {
    let server = Redis::start(Keeps::Nothing, &[]);
    // The server takes its time with it.
    let node = Node::start(RedisConfig { answer_wait_max: GUARD, ..config(server.port()) });
    node.connected();
    let huge = "x".repeat(300 << 20);
    leave(&server, &["channel", "orders", "type", "left", "data", &huge]);
    leave(&server, &["channel", "orders", "type", "left", "data", "7"]);
    node.wait_for(1);
    assert_eq!((node.numbers(), server.get(&["XLEN", "{shop}:in"])), (vec![7], "0".into()));
    until("it is counted", || node.bus.health().malformed == 1);
    node.publish([8]);
    node.wait_for(2);
    assert!(node.missed().is_empty());
}
