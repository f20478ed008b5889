//! The mode without a history.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

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

/// What was refused has used up numbers, and nobody missed it: its publisher was told.
#[test]
fn what_the_server_refuses_is_no_gap() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let rights = |more: &'static str| {
        let user = ["ACL", "SETUSER", "node", "on", ">p", "&{shop}:*", "+ping", "+subscribe", more];
        assert_eq!(server.ask(&user), ["+OK"]);
    };
    rights("+publish");
    let url = format!("redis://node:p@127.0.0.1:{}", server.port());
    let few = RedisConfig { url, mode: Mode::PubSub, batch_events_max: 8, ..config(server.port()) };
    let publisher = Node::start(few);
    publisher.connected();
    let witness = node(server.port());
    let (accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    let came = thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut taken = Vec::new();
            for call in 0.. {
                if done.load(Relaxed) {
                    break;
                }
                let numbers: Vec<_> = (call * 100..(call + 1) * 100).collect();
                let events: Vec<_> = numbers.iter().copied().map(numbered).collect();
                for (number, answer) in numbers.into_iter().zip(publisher.bus.publish_many(&events)) {
                    let count = match answer {
                        Ok(_) => {
                            taken.push(number);
                            &accepted
                        }
                        Err(error) => {
                            assert!(error.reason.contains("NOPERM") && !error.unknown, "{error:?}");
                            &refused
                        }
                    };
                    count.fetch_add(1, Relaxed);
                }
            }
            taken
        });
        let more = |count: &AtomicU64| {
            let before = count.load(Relaxed);
            until("more of them", || count.load(Relaxed) > before);
        };
        for _ in 0..20 {
            more(&accepted);
            rights("-publish");
            more(&refused);
            rights("+publish");
        }
        done.store(true, Relaxed);
        publishing.join().expect("a publisher")
    });
    for node in [&publisher, &witness] {
        node.wait_for(came.len());
        assert_eq!(node.numbers(), came);
        assert_eq!(node.missed(), []);
    }
}

/// A server that a script keeps busy refuses even a PING; nothing is published meanwhile, so nothing is missed.
#[test]
fn a_busy_server_is_no_dead_one() {
    let server = Redis::start(Keeps::Nothing, &["--busy-reply-threshold", "1"]);
    let node = node(server.port());
    thread::scope(|scope| {
        let script = scope.spawn(|| server.ask(&["EVAL", "while true do end", "0"]));
        until("it is busy", || server.ask(&["PING"])[0].starts_with("-BUSY"));
        let begun = Instant::now();
        until("some time passes", || begun.elapsed() > Duration::from_millis(2_500));
        assert_eq!(server.ask(&["SCRIPT", "KILL"]), ["+OK"]);
        script.join().expect("an answer");
    });
    node.publish([1]);
    node.wait_for(1);
    assert_eq!(node.missed(), []);
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
    let begun = Instant::now();
    let calm = || quiet.bus.health().reconnects > 0 || begun.elapsed() > Duration::from_secs(4);
    until("some time passes", calm);
    assert_eq!(quiet.bus.health().reconnects, 0);
    proxy.set(Fault::Hole);
    quiet.disconnected();
}
