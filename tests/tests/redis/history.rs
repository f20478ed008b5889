//! What happens when the history is not what it was: trimmed, gone, or another one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use coulis::bus::Bus as _;
use coulis_adapters::{
    feed::{Missed, Position},
    redis::RedisConfig,
};
use coulis_tests::servers::{
    GUARD,
    proxy::{Fault, Proxy},
    redis::{Keeps, Redis},
    until,
};

use super::{Node, Record, config, numbered};

#[test]
fn trimmed_events_are_told_with_their_exact_count() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let publisher = Node::of(&server);
    publisher.publish([0]);
    let node = Node::with_record(config(server.port()), Record::shut());
    node.connected();
    publisher.publish(1..300);
    server.ask(&["XTRIM", "{shop}:events", "MAXLEN", "=", "20"]);
    node.open();
    until("the last event arrives", || node.numbers().last() == Some(&299));
    let [(position, Missed { count: Some(count) })] = node.missed()[..] else {
        panic!("{:?}", node.missed())
    };
    let numbers = node.numbers();
    assert_eq!(numbers.len() as u64 + count, 300);
    assert_eq!(position, Position { epoch: publisher.epoch(), offset: 280 });
    assert_eq!(numbers[numbers.len() - 20..], (280..300).collect::<Vec<_>>());
    assert_eq!(node.bus.health().gaps, 1);
}

#[test]
fn a_restart_without_persistence_is_a_new_epoch_for_all() {
    let mut server = Redis::start(Keeps::Nothing, &[]);
    let nodes = [Node::of(&server), Node::of(&server)];
    nodes[0].publish(0..50);
    nodes.iter().for_each(|node| node.wait_for(50));
    let before = nodes[0].epoch();
    server.restart();
    nodes[1].publish(50..100);
    nodes.iter().for_each(|node| node.wait_for(100));
    for node in &nodes {
        assert_eq!(node.numbers(), (0..100).collect::<Vec<_>>());
        let [(position, Missed { count: None })] = node.missed()[..] else { panic!("{:?}", node.missed()) };
        assert!(position.epoch > before && position.offset == 0, "{position:?} after {before}");
        // The two connections of a bus may learn of it at different times.
        assert!((1..=2).contains(&node.bus.health().reconnects), "{:?}", node.bus.health());
    }
    assert_eq!(nodes[0].epoch(), nodes[1].epoch());
}

#[test]
fn a_flushed_server_is_noticed_without_a_publisher() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let nodes = [Node::of(&server), Node::of(&server)];
    nodes[0].publish(0..5);
    nodes.iter().for_each(|node| node.wait_for(5));
    server.ask(&["FLUSHALL"]);
    until("both are told", || nodes.iter().all(|node| node.missed().len() == 1));
    assert_eq!(nodes[0].epoch(), nodes[1].epoch());
    nodes[0].publish(5..10);
    nodes.iter().for_each(|node| node.wait_for(10));
    assert_eq!(nodes[1].missed().len(), 1);
}

#[test]
fn a_server_that_is_flushed_under_load_loses_nothing_that_comes_after() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    for round in 0..5 {
        node.publish(round * 100..round * 100 + 100);
        node.wait_for((round as usize + 1) * 100);
        server.ask(&["FLUSHALL"]);
    }
    node.publish([500]);
    until("the last event arrives", || node.numbers().last() == Some(&500));
    assert_eq!(node.numbers(), (0..=500).collect::<Vec<_>>());
    assert_eq!(node.missed().len(), 5);
}

#[test]
fn a_tail_that_is_lost_is_a_new_epoch() {
    let mut server = Redis::start(Keeps::Everything, &[]);
    let nodes = [Node::of(&server), Node::of(&server)];
    nodes[0].publish(0..50);
    let saved = Saved::of(&mut server);
    nodes.iter().for_each(Node::connected);
    nodes[0].publish(50..60);
    nodes.iter().for_each(|node| node.wait_for(60));
    assert!(nodes.iter().all(|node| node.missed().is_empty()));
    let before = nodes[0].epoch();
    saved.restore(&mut server);
    nodes[0].publish(60..70);
    nodes.iter().for_each(|node| node.wait_for(70));
    for node in &nodes {
        assert_eq!(node.numbers(), (0..70).collect::<Vec<_>>());
        let [(position, Missed { count: None })] = node.missed()[..] else { panic!("{:?}", node.missed()) };
        assert!(position.epoch > before, "{position:?} after {before}");
    }
    assert_eq!(nodes[0].epoch(), nodes[1].epoch());
}

/// The writer is back before the reader: what it published in the old epoch would not be read by this node.
#[test]
fn what_is_published_after_a_loss_arrives_however_late_the_reader_is() {
    let mut server = Redis::start(Keeps::Everything, &[]);
    let node = Node::of(&server);
    node.publish(0..50);
    let saved = Saved::of(&mut server);
    node.connected();
    node.publish(50..60);
    node.wait_for(60);
    node.shut_again();
    node.publish([60]);
    saved.restore(&mut server);
    node.publish(61..70);
    node.open();
    until("the last event arrives", || node.numbers().last() == Some(&69));
    assert_eq!(node.numbers(), (0..70).collect::<Vec<_>>());
    assert_eq!(node.missed().len(), 1);
}

/// A node that only reads knows by its own position that others lost events.
#[test]
fn a_tail_of_others_that_is_lost_is_seen_by_who_only_reads() {
    let mut server = Redis::start(Keeps::Everything, &[]);
    let calm = RedisConfig { block_max: GUARD, ..config(server.port()) };
    let reader = Node::start(calm);
    let publisher = Node::of(&server);
    publisher.publish(0..50);
    let saved = Saved::of(&mut server);
    reader.connected();
    publisher.connected();
    publisher.publish(50..60);
    reader.wait_for(60);
    drop(publisher);
    saved.restore(&mut server);
    until("it is told", || reader.missed().len() == 1);
    Node::of(&server).publish(60..70);
    until("the last event arrives", || reader.numbers().last() == Some(&69));
    assert_eq!(reader.numbers(), (0..70).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_went_back_brings_no_old_epoch_back() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let later = 1 << 43;
    server.ask(&["XADD", "{shop}:events", &format!("{later}-0"), "epoch", "later"]);
    let nodes = [Node::of(&server), Node::of(&server)];
    for round in 1..=3 {
        assert!(nodes.iter().all(|node| node.epoch() == later + round - 1));
        nodes[0].publish([round]);
        nodes.iter().for_each(|node| node.wait_for(round as usize));
        server.ask(&["FLUSHALL"]);
        until("it is told", || nodes.iter().all(|node| node.missed().len() == round as usize));
    }
}

/// The number of events alone would not tell: after the loss others were added.
#[test]
fn a_tail_that_was_replaced_is_known_by_its_last_entry() {
    let mut server = Redis::start(Keeps::Everything, &[]);
    let proxy = Proxy::start(server.port());
    let away = Node::start(config(proxy.port()));
    away.connected();
    away.publish(0..50);
    let saved = Saved::of(&mut server);
    away.connected();
    away.publish(50..60);
    away.wait_for(60);
    let before = away.epoch();
    proxy.set(Fault::Refuse);
    saved.restore(&mut server);
    let other = Node::of(&server);
    other.publish(100..150);
    assert_eq!(other.epoch(), before);
    proxy.set(Fault::Pass);
    until("it is told", || !away.missed().is_empty());
    away.publish([200]);
    for node in [&away, &other] {
        until("the last event arrives", || node.numbers().last() == Some(&200));
        assert!(node.epoch() > before);
    }
    assert_eq!(away.epoch(), other.epoch());
    let numbers = away.numbers();
    assert_eq!(numbers, (0..60).chain([200]).collect::<Vec<_>>());
}

/// An entry that holds events on both sides of the reader's position is one of another history, trimmed or not.
#[test]
fn a_tail_that_was_replaced_is_known_by_an_entry_across_its_end() {
    for trimmed in [false, true] {
        let mut server = Redis::start(Keeps::Everything, &[]);
        let proxy = Proxy::start(server.port());
        let away = Node::start(config(proxy.port()));
        away.connected();
        let publisher = Node::of(&server);
        publisher.publish(0..50);
        let saved = Saved::of(&mut server);
        publisher.connected();
        publisher.publish(50..60);
        away.wait_for(60);
        proxy.set(Fault::Refuse);
        away.disconnected();
        drop(publisher);
        saved.restore(&mut server);
        let other = Node::of(&server);
        let events: Vec<_> = (100..120).map(numbered).collect();
        assert!(other.bus.publish_many(&events).iter().all(Result::is_ok));
        if trimmed {
            server.ask(&["XTRIM", "{shop}:events", "MAXLEN", "=", "1"]);
        }
        proxy.set(Fault::Pass);
        away.connected();
        other.publish([200]);
        until("the last event arrives", || away.numbers().last() == Some(&200));
        assert_eq!(away.numbers(), (0..60).chain([200]).collect::<Vec<_>>());
        assert!(matches!(away.missed()[..], [(_, Missed { count: None })]), "{:?}", away.missed());
    }
}

/// Each node finds out by itself; the first one begins another epoch, and that holds for all.
#[test]
fn a_history_that_is_replaced_before_all_eyes_begins_one_epoch() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let nodes: Vec<_> = (0..4).map(|_| Node::of(&server)).collect();
    let events: Vec<_> = (0..20).map(numbered).collect();
    assert!(nodes[0].bus.publish_many(&events).iter().all(Result::is_ok));
    nodes.iter().for_each(|node| node.wait_for(20));
    // The last entry again, ten numbers later: it begins before what was read.
    let replace = "local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
        local epoch, last = string.match(entry[1], '(%d+)-(%d+)')
        redis.call('DEL', KEYS[1])
        redis.call('XADD', KEYS[1], epoch .. '-' .. string.format('%.0f', last + 10), unpack(entry[2]))";
    server.ask(&["EVAL", replace, "1", "{shop}:events"]);
    nodes.iter().for_each(|node| until("it is told", || !node.missed().is_empty()));
    nodes.iter().for_each(Node::connected);
    nodes[0].publish([200]);
    for node in &nodes {
        until("the last event arrives", || node.numbers().last() == Some(&200));
        assert_eq!((node.epoch(), node.missed().len()), (nodes[0].epoch(), 1));
    }
}

/// The event that was the last one when a node came is deleted: those after it are live, and nobody waits for them to
/// know that.
#[test]
fn what_comes_after_a_deleted_end_is_live() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let publisher = Node::of(&server);
    publisher.publish(0..6);
    publisher.wait_for(6);
    let epoch = publisher.epoch();
    assert_eq!(server.get(&["XDEL", "{shop}:events", &format!("{epoch}-6")]), "1");
    let busy = Node::with_record(config(server.port()), Record::shut());
    until("the node is busy", || busy.is_waiting());
    publisher.publish(10..13);
    busy.open();
    busy.wait_for(8);
    assert_eq!(busy.numbers(), (0..5).chain(10..13).collect::<Vec<_>>());
    // Who listened by then has missed nothing.
    assert_eq!((busy.caught_up(), busy.missed().len()), (vec![(2, 5)], 0));

    assert_eq!(server.get(&["XDEL", "{shop}:events", &format!("{epoch}-9")]), "1");
    let idle = Node::of(&server);
    until("the node has caught up", || !idle.caught_up().is_empty());
}

/// What a server had written at some time.
struct Saved {
    from: PathBuf,
    to: PathBuf,
}

impl Saved {
    fn of(server: &mut Redis) -> Self {
        server.kill();
        let from = server.folder().join("appendonlydir");
        let to = server.folder().join("saved");
        copy(&from, &to);
        server.restart();
        Self { from, to }
    }

    fn restore(self, server: &mut Redis) {
        server.kill();
        fs::remove_dir_all(&self.from).expect("removed");
        copy(&self.to, &self.from);
        server.restart();
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "cannot copy {}", from.display());
}
