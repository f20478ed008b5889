//! Who may connect, and how: passwords, rights, TLS, Unix sockets.

use std::time::Duration;

use coulis::{bus::Bus as _, limits::Limits};
use coulis_adapters::redis::{Mode, RedisBus, RedisConfig};
use coulis_tests::servers::{
    redis::{Keeps, Redis},
    until,
};

use super::{Node, Record, config, numbered};

/// The rights that the documentation of the module names.
const RIGHTS: &[&str] = &[
    "~{shop}:*",
    "-@all",
    "+evalsha",
    "+script|load",
    "+xread",
    "+xrange",
    "+xinfo|stream",
    "+xadd",
    "+xdel",
    "+get",
    "+set",
    "+del",
    "+time",
];

fn allow(server: &Redis, password: &str, rights: &[&str]) {
    let password = format!(">{password}");
    let user = ["ACL", "SETUSER", "node", "reset", "on", &password];
    let answer = server.ask(&[&user, rights].concat());
    assert_eq!(answer, ["+OK"]);
}

/// What the server says to a command, and to one in a script.
fn is_forbidden(why: &str) -> bool {
    why.contains("NOPERM") || why.contains("The user executing the script")
}

fn as_user(server: &Redis) -> RedisConfig {
    let port = server.port();
    RedisConfig { url: format!("redis://node:p%40ss@127.0.0.1:{port}"), ..config(port) }
}

#[test]
fn the_rights_in_the_documentation_are_enough_and_all_are_needed() {
    let documented = include_str!("../../../adapters/src/redis/mod.rs");
    assert!(documented.contains(&format!("ACL SETUSER node on >password {}", RIGHTS.join(" "))));
    let server = Redis::start(Keeps::Nothing, &[]);
    allow(&server, "p@ss", RIGHTS);
    let node = Node::start(as_user(&server));
    node.connected();
    node.publish([1]);
    let named = numbered(2).with_id("a", &Limits::default()).unwrap();
    node.bus.publish(&named).unwrap();
    server.ask(&["XADD", "{shop}:in", "*", "channel", "orders", "type", "t", "data", "3", "id", "b"]);
    node.wait_for(3);
    assert_eq!(node.numbers(), [1, 2, 3]);
    server.ask(&["FLUSHALL"]);
    until("it is told", || node.missed().len() == 1);
    node.publish([4]);
    node.wait_for(4);
    assert_eq!((node.bus.health().error, node.bus.health().reconnects), (None, 0));

    // It would begin the history for those who may not.
    drop(node);
    for right in RIGHTS.iter().filter(|right| !["-@all", "+del"].contains(right)) {
        let fewer: Vec<_> = RIGHTS.iter().copied().filter(|other| other != right).collect();
        allow(&server, "p@ss", &fewer);
        server.ask(&["FLUSHALL"]);
        server.ask(&["XADD", "{shop}:in", "*", "channel", "orders", "type", "t", "data", "5"]);
        let node = Node::start(as_user(&server));
        // Its health tells of reading, and of an event that is refused.
        _ = node.bus.enqueue(&numbered(6));
        let lacks = || node.bus.health().error.is_some_and(|why| is_forbidden(&why));
        until(&format!("the bus complains without {right}"), lacks);
    }
}

#[test]
fn a_producer_beside_the_nodes_needs_the_inlet_alone() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let node = Node::of(&server);
    allow(&server, "p@ss", &["~{shop}:in", "-@all", "+xadd"]);
    let acl = |words: &[&str]| server.ask(&[&["ACL", "DRYRUN", "node"], words].concat());
    assert_eq!(acl(&["XADD", "{shop}:in", "*", "a", "b"]), ["+OK"]);
    assert_ne!(acl(&["XADD", "{shop}:events", "*", "a", "b"]), ["+OK"]);
    drop(node);
}

/// An inlet that cannot be emptied would be moved again and again.
#[test]
fn without_the_right_to_delete_nothing_is_moved_and_the_rest_goes_on() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let fewer: Vec<_> = RIGHTS.iter().copied().filter(|right| *right != "+xdel").collect();
    allow(&server, "p@ss", &fewer);
    let node = Node::start(as_user(&server));
    node.connected();
    server.ask(&["XADD", "{shop}:in", "*", "channel", "orders", "type", "t", "data", "9"]);
    until("it complains", || node.bus.health().error.is_some_and(|why| why.contains("{shop}:in")));
    node.publish(0..50);
    node.wait_for(50);
    assert_eq!(node.numbers(), (0..50).collect::<Vec<_>>());
    allow(&server, "p@ss", RIGHTS);
    until("the inlet is emptied", || server.get(&["XLEN", "{shop}:in"]) == "0");
    node.wait_for(51);
}

#[test]
fn the_rights_without_a_history_are_fewer() {
    let server = Redis::start(Keeps::Nothing, &[]);
    allow(&server, "p@ss", &["resetchannels", "&{shop}:*", "-@all", "+ping", "+publish", "+subscribe"]);
    let node = Node::start(RedisConfig { mode: Mode::PubSub, ..as_user(&server) });
    node.connected();
    node.publish([1]);
    node.wait_for(1);
}

#[test]
fn a_wrong_password_is_told_and_a_right_one_works_at_once() {
    let server = Redis::start(Keeps::Nothing, &[]);
    allow(&server, "another", RIGHTS);
    let short = Duration::from_millis(100);
    let node = Node::start(RedisConfig { publish_wait_max: short, ..as_user(&server) });
    until("it says why", || node.bus.health().error.is_some_and(|why| why.contains("WRONGPASS")));
    let error = node.bus.publish(&numbered(0)).unwrap_err();
    assert!(error.reason.contains("WRONGPASS") && !error.unknown, "{error:?}");
    assert!(!format!("{error:?} {:?} {:?}", node.bus, node.bus.health()).contains("p@ss"));
    allow(&server, "p@ss", RIGHTS);
    node.connected();
    until("it publishes", || node.bus.publish(&numbered(1)).is_ok());
}

#[test]
fn a_user_without_rights_is_told_at_the_event() {
    let server = Redis::start(Keeps::Nothing, &[]);
    allow(&server, "p@ss", RIGHTS);
    let node = Node::start(as_user(&server));
    node.connected();
    let fewer: Vec<_> = RIGHTS.iter().copied().filter(|right| *right != "+xadd").collect();
    node.publish([0]);
    allow(&server, "p@ss", &fewer);
    until("an event is refused by name", || match node.bus.publish(&numbered(1)) {
        Err(error) => is_forbidden(&error.reason) && !error.transient,
        Ok(_) => false,
    });
    // Also where an event could be added, and not that it was.
    let fewer: Vec<_> = RIGHTS.iter().copied().filter(|right| *right != "+set").collect();
    allow(&server, "p@ss", &fewer);
    let error = node.bus.publish(&numbered(2)).unwrap_err();
    assert!(is_forbidden(&error.reason) && !error.unknown, "{error:?}");
    allow(&server, "p@ss", RIGHTS);
    node.publish([3]);
    node.wait_for(2);
    assert_eq!(node.numbers(), [0, 3]);
}

/// It takes what is published to its channels, and passes it on to nobody.
#[test]
fn a_replica_is_not_taken_for_its_master() {
    let server = Redis::start(Keeps::Nothing, &[]);
    for mode in [Mode::Streams, Mode::PubSub] {
        let short = Duration::from_millis(100);
        let node = Node::start(RedisConfig { mode, publish_wait_max: short, ..config(server.port()) });
        node.connected();
        node.publish([0]);
        node.wait_for(1);
        assert_eq!(server.ask(&["REPLICAOF", "127.0.0.1", "1"]), ["+OK"]);
        node.bus.publish(&numbered(1)).unwrap_err();
        until("it says why", || node.bus.health().error.is_some_and(|why| why.contains("replica")));
        assert_eq!(server.ask(&["REPLICAOF", "NO", "ONE"]), ["+OK"]);
        until("it publishes", || node.bus.publish(&numbered(2)).is_ok());
        until("it reads", || node.numbers().last() == Some(&2));
        drop(node);
        server.ask(&["FLUSHALL"]);
    }
}

#[test]
fn tls_is_spoken_with_whom_the_certificate_vouches_for() {
    let server = Redis::with_tls();
    let config = RedisConfig { url: server.url(), tls_ca: Some(server.ca()), ..config(0) };
    let node = Node::start(config.clone());
    node.connected();
    let events: Vec<_> = (0..3_000).map(numbered).collect();
    assert!(node.bus.publish_many(&events).iter().all(Result::is_ok));
    node.wait_for(3_000);
    assert_eq!(node.numbers(), (0..3_000).collect::<Vec<_>>());
    let known = Node::start(RedisConfig { tls_identity: Some(server.identity()), ..config.clone() });
    known.connected();
    known.wait_for(3_000);

    let stranger = Redis::with_tls();
    let error = |config: RedisConfig| {
        let node = Node::start(config);
        until("it says why", || node.bus.health().error.is_some());
        assert!(!node.bus.health().connected);
        node.bus.health().error.unwrap()
    };
    let why = error(RedisConfig { tls_ca: Some(stranger.ca()), ..config.clone() });
    assert!(why.contains("certificate"), "{why}");
    // The certificate is for `localhost`.
    let url = format!("rediss://127.0.0.1:{}", server.port());
    let why = error(RedisConfig { url, ..config.clone() });
    assert!(why.contains("certificate"), "{why}");
    let plain = format!("redis://127.0.0.1:{}", server.port());
    error(RedisConfig { url: plain, tls_ca: None, ..config });
}

#[test]
fn a_unix_socket_will_do() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let socket = server.socket();
    for url in [format!("unix://{}", socket.display()), format!("redis+unix://{}?db=3", socket.display())] {
        let node = Node::start(RedisConfig { url, ..config(0) });
        node.connected();
        node.publish(0..10);
        node.wait_for(10);
    }
    // The second one was in a database of its own.
    assert_eq!(server.get(&["XLEN", "{shop}:events"]), "11");
}

#[test]
fn a_certificate_that_cannot_be_read_is_refused_at_once() {
    let config = RedisConfig {
        tls_ca: Some("/nowhere/ca.pem".into()),
        ..RedisConfig::new("rediss://localhost", "shop")
    };
    let error = RedisBus::start(config, Limits::default(), Box::new(Record::default())).unwrap_err();
    assert!(error.reason.contains("`/nowhere/ca.pem`") && !error.transient, "{error:?}");
}
