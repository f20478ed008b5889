//! The mode without a history.

use coulis::bus::Bus as _;
use coulis_adapters::{
    feed::Missed,
    redis::{Mode, RedisConfig},
};
use coulis_tests::servers::{
    proxy::{Fault, Proxy},
    redis::{Keeps, Redis},
    until,
};

use super::{Node, config, numbered};

fn node(port: u16) -> Node {
    let node = Node::start(RedisConfig { mode: Mode::PubSub, ..config(port) });
    node.connected();
    node
}

#[test]
fn those_who_listen_get_every_event_once() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let nodes = [node(server.port()), node(server.port())];
    let events: Vec<_> = (0..5_000).map(numbered).collect();
    assert!(nodes[0].bus.publish_many(&events).iter().all(Result::is_ok));
    nodes[1].publish(5_000..5_050);
    for node in &nodes {
        node.wait_for(5_050);
        assert_eq!(node.numbers(), (0..5_050).collect::<Vec<_>>());
        assert!(node.missed().is_empty());
    }
    assert_eq!(server.get(&["DBSIZE"]), "0");
}

#[test]
fn a_lost_connection_is_told_since_nobody_knows_what_was_missed() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let proxy = Proxy::start(server.port());
    let away = node(proxy.port());
    let publisher = node(server.port());
    publisher.publish(0..10);
    away.wait_for(10);
    let before = away.epoch();
    proxy.set(Fault::Refuse);
    away.disconnected();
    publisher.publish(10..20);
    proxy.set(Fault::Pass);
    away.connected();
    publisher.publish(20..30);
    until("the last event arrives", || away.numbers().last() == Some(&29));
    assert_eq!(away.numbers(), (0..10).chain(20..30).collect::<Vec<_>>());
    // Once, although the publisher's numbers would tell it again.
    let [(position, Missed { count: None })] = away.missed()[..] else { panic!("{:?}", away.missed()) };
    assert!(position.epoch != before && position.offset == 0);
}

/// An answer that is lost makes the publisher send again; the reader knows what it has seen.
#[test]
fn answers_that_are_cut_off_double_nothing() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let proxy = Proxy::start(server.port());
    let publisher = node(proxy.port());
    let witness = node(server.port());
    for number in 0..20 {
        proxy.set(Fault::Cut(1 + number as usize % 5));
        publisher.publish([number]);
    }
    witness.wait_for(20);
    assert_eq!(witness.numbers(), (0..20).collect::<Vec<_>>());
    assert!(proxy.cuts() >= 5, "only {} answers were cut", proxy.cuts());
}

#[test]
fn what_is_no_message_is_counted() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = node(server.port());
    for message in ["", "junk", "\u{93}"] {
        server.ask(&["PUBLISH", "{shop}:events", message]);
    }
    until("they are counted", || node.bus.health().malformed == 3);
    node.publish([1]);
    node.wait_for(1);
}

#[test]
fn a_quiet_channel_is_no_dead_one() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let proxy = Proxy::start(server.port());
    let quiet = node(proxy.port());
    let begun = std::time::Instant::now();
    let calm = || quiet.bus.health().reconnects > 0 || begun.elapsed() > std::time::Duration::from_secs(4);
    until("some time passes", calm);
    assert_eq!(quiet.bus.health().reconnects, 0);
    proxy.set(Fault::Hole);
    quiet.disconnected();
}
