//! What a bus leaves behind: nothing, soon after it is closed, whatever its server does. Alone in its process, since it
//! counts the threads and sockets of all.

use std::{
    fs,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use coulis::{
    bus::{Bus as _, Health},
    limits::Limits,
};
use coulis_adapters::{
    feed::{Arrived, Missed, Position, Sink},
    redis::{Mode, RedisBus, RedisConfig},
};
use coulis_tests::{
    event,
    servers::{
        proxy::{Fault, Proxy},
        redis::{Keeps, Redis},
        until,
    },
};

/// A close that waits for nothing is over by then, on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(2);

struct Nobody;

impl Sink for Nobody {
    fn begin(&mut self, _: Position, _: Option<Missed>) {}

    fn deliver(&mut self, _: Vec<Arrived>) {}
}

/// A sink without room until it is told that it has some.
struct Full(Arc<AtomicBool>);

impl Sink for Full {
    fn begin(&mut self, _: Position, _: Option<Missed>) {}

    fn deliver(&mut self, _: Vec<Arrived>) {
        until("there is room", || self.0.load(SeqCst));
    }
}

/// The names of the threads of buses, and the number of sockets.
fn left() -> (Vec<String>, usize) {
    let tasks = fs::read_dir("/proc/self/task").expect("threads").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let buses = names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("coulis-redis"));
    let files = fs::read_dir("/proc/self/fd").expect("files").flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    let sockets = links.filter(|link| link.to_string_lossy().starts_with("socket:"));
    (buses.collect(), sockets.count())
}

fn start(port: u16, mode: Mode, sink: Box<dyn Sink>) -> RedisBus {
    with(RedisConfig { mode, ..config(port) }, sink)
}

fn with(config: RedisConfig, sink: Box<dyn Sink>) -> RedisBus {
    // Whoever had to wait for an answer, or for the next event, would be late.
    let long = Duration::from_secs(20);
    let waits = RedisConfig { block_max: long, answer_wait_max: long, publish_wait_max: long, ..config };
    RedisBus::start(waits, Limits::default(), sink).expect("a bus")
}

fn config(port: u16) -> RedisConfig {
    RedisConfig::new(format!("redis://127.0.0.1:{port}"), "shop")
}

/// Brings a bus into a state, closes it, and looks whether it is gone.
fn gone(what: &str, bus: RedisBus, is: fn(&Health) -> bool, then: impl FnOnce()) {
    until(what, || is(&bus.health()));
    then();
    let begun = Instant::now();
    bus.close(Duration::ZERO);
    let took = begun.elapsed();
    assert!(took < SOON, "{what}: closing took {took:?}");
    until(&format!("{what}: no thread is left"), || left().0.is_empty());
    drop(bus);
}

#[test]
fn a_closed_bus_leaves_no_thread_and_no_socket() {
    let before = left();
    assert_eq!(before.0, [""; 0]);
    for mode in [Mode::Streams, Mode::PubSub] {
        let mut server = Redis::start(Keeps::Nothing, &[]);
        let proxy = Proxy::start(server.port());
        let open = |port| start(port, mode, Box::new(Nobody));
        gone("idle", open(server.port()), |health| health.connected, || ());
        gone("never connected", open(server.port()), |_| true, || ());
        gone("in a black hole", open(proxy.port()), |health| health.connected, || proxy.set(Fault::Hole));
        gone("at a server that says nothing", open(proxy.port()), |_| true, || ());
        proxy.set(Fault::Reset);
        gone("at a hanging server", open(server.port()), |health| health.connected, || server.stop());
        server.go_on();
        server.kill();
        gone("without a server", open(server.port()), |health| health.error.is_some(), || ());
        server.restart();

        let mut socket = config(0);
        socket.url = format!("unix://{}", server.socket().display());
        let bus = with(RedisConfig { mode, ..socket }, Box::new(Nobody));
        gone("at a Unix socket", bus, |health| health.connected, || ());
        let secret = Redis::with_tls();
        let bus = with(
            RedisConfig { mode, url: secret.url(), tls_ca: Some(secret.ca()), ..config(0) },
            Box::new(Nobody),
        );
        gone("over TLS", bus, |health| health.connected, || ());

        let bus = open(server.port());
        until("it is connected", || bus.health().connected);
        drop(bus);
        until("a bus that is dropped leaves no thread", || left().0.is_empty());
    }
    until("no socket is left", || left().1 <= before.1);

    let server = Redis::start(Keeps::Nothing, &[]);
    let room = Arc::new(AtomicBool::new(false));
    let bus = start(server.port(), Mode::Streams, Box::new(Full(Arc::clone(&room))));
    bus.publish(&event("orders", "1")).expect("accepted");
    bus.publish(&event("orders", "2")).expect("accepted");
    let begun = Instant::now();
    bus.close(Duration::ZERO);
    assert!(begun.elapsed() < SOON, "a sink without room held the end up for {:?}", begun.elapsed());
    room.store(true, SeqCst);
    until("a thread leaves with its last events", || left().0.is_empty());

    who_waits_at_the_end_is_told();
    until("no thread is left", || left().0.is_empty());
}

/// A publisher that waits when the bus is closed is told at once.
fn who_waits_at_the_end_is_told() {
    let server = Redis::start(Keeps::Nothing, &[]);
    let bus = start(server.port(), Mode::Streams, Box::new(Nobody));
    until("it is connected", || bus.health().connected);
    server.stop();
    thread::scope(|scope| {
        let publisher = scope.spawn(|| bus.publish(&event("orders", "1")).expect_err("nobody answers"));
        until("it waits", || bus.health().buffered == 1);
        let begun = Instant::now();
        bus.close(Duration::from_millis(50));
        let error = publisher.join().expect("told");
        assert!(begun.elapsed() < SOON, "told after {:?}", begun.elapsed());
        assert!(error.transient, "{error:?}");
    });
    server.go_on();
}
