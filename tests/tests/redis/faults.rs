//! Servers and wires that fail: what was acknowledged is there once, and who waits is told.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use coulis::bus::{Bus as _, BusError};
use coulis_adapters::redis::RedisConfig;
use coulis_tests::random::Random;
use coulis_tests::servers::{
    free_port,
    proxy::{Fault, Proxy},
    redis::{Keeps, Redis},
    until,
};

use super::{Node, config, numbered};

#[test]
fn a_crash_loses_nothing_doubles_nothing_and_keeps_the_order() {
    let mut server = Redis::start(Keeps::Everything, &[]);
    let nodes = [Node::of(&server), Node::of(&server)];
    let over = AtomicBool::new(false);
    let published = thread::scope(|scope| {
        let publishers: Vec<_> = nodes
            .iter()
            .zip([0, 1_000_000])
            .map(|(node, first)| {
                let over = &over;
                scope.spawn(move || {
                    let mut next = first;
                    while !over.load(SeqCst) || next < first + 20 {
                        node.publish([next]);
                        next += 1;
                    }
                    first..next
                })
            })
            .collect();
        for round in 1..=3 {
            nodes[0].wait_for(round * 30);
            server.restart();
        }
        over.store(true, SeqCst);
        publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect::<Vec<u64>>()
    });
    nodes.iter().for_each(|node| node.wait_for(published.len()));
    let [one, other] = nodes.each_ref().map(|node| node.numbers());
    assert_eq!(one, other);
    let mut sorted = one.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, published);
    for node in &nodes {
        assert!(node.missed().is_empty() && node.bus.health().reconnects >= 1, "{:?}", node.bus.health());
    }
}

/// Every place in an answer that a cut can have, for the writer and the reader.
#[test]
fn answers_that_are_cut_off_double_nothing() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let proxy = Proxy::start(server.port());
    let node = Node::start(config(proxy.port()));
    let witness = Node::of(&server);
    node.connected();
    let mut random = Random(1);
    for number in 0..60 {
        proxy.set(Fault::Cut(1 + random.below(120)));
        node.publish([number]);
    }
    for node in [&node, &witness] {
        node.wait_for(60);
        assert_eq!(node.numbers(), (0..60).collect::<Vec<_>>());
        assert!(node.missed().is_empty());
    }
    assert!(proxy.cuts() >= 10, "only {} answers were cut", proxy.cuts());
}

#[test]
fn resets_under_load_double_nothing() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let proxy = Proxy::start(server.port());
    let node = Node::start(config(proxy.port()));
    node.connected();
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for batch in 0..20 {
                let events: Vec<_> = (batch * 1_000..batch * 1_000 + 1_000).map(numbered).collect();
                assert!(node.bus.publish_many(&events).iter().all(Result::is_ok));
            }
        });
        while !publisher.is_finished() {
            let before = proxy.connections();
            proxy.set(Fault::Reset);
            until("it connects again", || proxy.connections() > before + 1 || publisher.is_finished());
        }
    });
    node.wait_for(20_000);
    assert_eq!(node.numbers(), (0..20_000).collect::<Vec<_>>());
    assert!(node.missed().is_empty());
}

#[test]
fn in_a_black_hole_the_publisher_is_told_that_nobody_knows() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let proxy = Proxy::start(server.port());
    let short = Duration::from_millis(200);
    let node = Node::start(RedisConfig { publish_wait_max: short, ..config(proxy.port()) });
    node.connected();
    node.publish([0]);
    proxy.set(Fault::Hole);
    let error = node.bus.publish(&numbered(1)).unwrap_err();
    assert!(error.unknown && error.transient && error.reason.starts_with("sent"), "{error:?}");
    node.disconnected();
    let error = node.bus.publish(&numbered(2)).unwrap_err();
    assert!(!error.unknown && error.transient && error.reason.starts_with("not sent"), "{error:?}");
    proxy.set(Fault::Reset);
    node.connected();
    // What was sent is sent again until it is answered; what was not is gone, as its publisher was told.
    until("the event arrives after all", || node.numbers() == [0, 1]);
    until("all is settled", || node.bus.health().buffered == 0);
    node.publish([3]);
    node.wait_for(3);
    assert_eq!(node.numbers(), [0, 1, 3]);
}

/// The first copy vanished here, but the publisher's side cannot know.
#[test]
fn a_refusal_of_what_was_sent_before_leaves_it_unknown() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let proxy = Proxy::start(server.port());
    let node = Node::start(config(proxy.port()));
    node.connected();
    node.publish([0]);
    thread::scope(|scope| {
        proxy.set(Fault::Hole);
        let publisher = scope.spawn(|| node.bus.publish(&numbered(1)).unwrap_err());
        node.disconnected();
        until("the writer gives the connection up", || proxy.connections() > 3);
        server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
        proxy.set(Fault::Reset);
        let error = publisher.join().unwrap();
        assert!(error.unknown && error.transient && error.reason.starts_with("OOM"), "{error:?}");
    });
}

#[test]
fn a_server_that_hangs_is_noticed_and_its_late_work_doubles_nothing() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    node.publish([0]);
    thread::scope(|scope| {
        server.stop();
        let publisher = scope.spawn(|| node.publish(1..20));
        // Each new try leaves the same event in the stopped server's sockets.
        node.disconnected();
        until("it is tried again", || node.bus.health().error.is_some_and(|why| why.contains("in time")));
        server.go_on();
        publisher.join().unwrap();
    });
    node.wait_for(20);
    assert_eq!(node.numbers(), (0..20).collect::<Vec<_>>());
    assert!(node.missed().is_empty());
}

#[test]
fn an_absent_server_is_no_error_at_the_start() {
    let mut server = Redis::start(Keeps::Nothing, &[]);
    server.kill();
    let short = Duration::from_millis(100);
    let node = Node::start(RedisConfig { publish_wait_max: short, ..config(server.port()) });
    until("it says why", || node.bus.health().error.is_some_and(|why| why.contains("refused")));
    assert!(!node.bus.health().connected);
    let error = node.bus.publish(&numbered(0)).unwrap_err();
    assert!(error.transient && !error.unknown && error.reason.contains("refused"), "{error:?}");
    server.restart();
    let back = Instant::now();
    node.connected();
    assert!(back.elapsed() < Duration::from_secs(2), "{:?} after the server was back", back.elapsed());
    let patient = Node::of(&server);
    patient.publish([1]);
    node.wait_for(1);
    assert_eq!(node.numbers(), [1]);
    assert_eq!(node.bus.health().error, None);
}

#[test]
fn while_the_server_is_away_events_wait_up_to_the_bound() {
    let mut server = Redis::start(Keeps::Nothing, &[]);
    let waits = RedisConfig { buffer_events_max: 100, ..config(server.port()) };
    let node = Node::start(RedisConfig { publish_wait_max: Duration::from_millis(100), ..waits });
    node.connected();
    server.kill();
    node.disconnected();
    // The writer may hold one batch already when it loses the connection.
    until("an event is refused", || node.bus.enqueue(&numbered(0)).is_err());
    assert!(node.bus.health().buffered >= 100);
    let error = node.bus.enqueue(&numbered(0)).unwrap_err();
    assert!(
        error.transient && !error.unknown && error.reason.contains("`buffer_events_max` is 100"),
        "{error:?}"
    );
    let error = node.bus.publish(&numbered(0)).unwrap_err();
    assert!(error.transient && !error.unknown && error.reason.contains("`buffer_events_max`"), "{error:?}");
    let waiting = node.bus.health().buffered;
    server.restart();
    until("what waited is accepted", || node.bus.health().accepted == waiting);
    node.wait_for(waiting as usize);
}

#[test]
fn what_is_buffered_at_the_close_is_counted() {
    let node = Node::start(config(free_port()));
    for number in 0..3 {
        node.bus.enqueue(&numbered(number)).unwrap();
    }
    assert_eq!(node.bus.health().refused, 0);
    node.bus.close(Duration::ZERO);
    until("they are counted", || node.bus.health().refused == 3);
}

#[test]
fn what_waits_is_bounded_in_bytes_too() {
    let waits = RedisConfig { buffer_bytes_max: 1_000, ..config(free_port()) };
    let node = Node::start(waits);
    let large = coulis_tests::event("orders", &format!("\"{}\"", "x".repeat(600)));
    node.bus.enqueue(&large).unwrap();
    let error = node.bus.enqueue(&large).unwrap_err();
    assert!(error.transient && error.reason.contains("`buffer_bytes_max` 1000"), "{error:?}");
}

#[test]
fn a_server_without_memory_refuses_by_name_and_nothing_is_lost_in_silence() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    node.publish([0]);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = |error: &BusError| error.transient && !error.unknown && error.reason.starts_with("OOM");
    let error = node.bus.publish(&numbered(1)).unwrap_err();
    assert!(refused(&error), "{error:?}");
    let events: Vec<_> = (2..5_000).map(numbered).collect();
    for answer in node.bus.publish_many(&events) {
        assert!(answer.as_ref().is_err_and(refused), "{answer:?}");
    }
    assert!(node.bus.health().error.is_some_and(|why| why.contains("OOM")));
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    let events: Vec<_> = (5_000..10_000).map(numbered).collect();
    assert!(node.bus.publish_many(&events).iter().all(Result::is_ok));
    node.wait_for(5_001);
    assert_eq!(node.numbers(), [0].into_iter().chain(5_000..10_000).collect::<Vec<_>>());
    assert_eq!((node.bus.health().accepted, node.bus.health().reconnects), (5_001, 0));
}

/// Some batches are refused while others are under way: those follow an event that is missing, and are sent again.
#[test]
fn what_follows_a_refused_batch_keeps_its_order() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::start(RedisConfig { batch_events_max: 10, ..config(server.port()) });
    node.connected();
    let over = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
                server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
            }
        });
        let events: Vec<_> = (0..20_000).map(numbered).collect();
        let answers = node.bus.publish_many(&events);
        over.store(true, SeqCst);
        answers
    });
    let taken: Vec<_> =
        (0..).zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(number, _)| number).collect();
    assert!((1..20_000).contains(&taken.len()), "{} were taken: the server did not change", taken.len());
    node.wait_for(taken.len());
    node.publish([20_000]);
    until("the last event arrives", || node.numbers().last() == Some(&20_000));
    assert_eq!(node.numbers(), taken.into_iter().chain([20_000]).collect::<Vec<_>>());
}

#[test]
fn a_server_that_became_a_replica_refuses_by_name() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    node.publish([0]);
    let nobody = free_port().to_string();
    server.ask(&["REPLICAOF", "127.0.0.1", &nobody]);
    let error = node.bus.publish(&numbered(1)).unwrap_err();
    assert!(error.transient && !error.unknown && error.reason.starts_with("READONLY"), "{error:?}");
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    node.publish([2]);
    node.wait_for(2);
    assert_eq!(node.numbers(), [0, 2]);
}

#[test]
fn scripts_that_are_gone_are_loaded_again() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    for number in 0..10 {
        server.ask(&["SCRIPT", "FLUSH"]);
        node.publish([number]);
    }
    let events: Vec<_> = (10..10_000).map(numbered).collect();
    thread::scope(|scope| {
        scope.spawn(|| assert!(node.bus.publish_many(&events).iter().all(Result::is_ok)));
        scope.spawn(|| (0..5).for_each(|_| drop(server.ask(&["SCRIPT", "FLUSH"]))));
    });
    node.wait_for(10_000);
    assert_eq!(node.numbers(), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn a_key_of_another_kind_is_named() {
    let server = Redis::start(Keeps::Nothing, &[]);
    server.ask(&["SET", "{shop}:events", "mine"]);
    let node = Node::start(config(server.port()));
    until("it says why", || node.bus.health().error.is_some_and(|why| why.contains("WRONGTYPE")));
    server.ask(&["DEL", "{shop}:events"]);
    node.connected();
    node.publish([1]);
    node.wait_for(1);
}
