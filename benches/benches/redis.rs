//! How near does the Redis bus come to the server alone: in events a second, and in time from publish to sink?
//!
//! The anchors run against the same server in the same run: `redis-benchmark` with 64 commands in a pipeline, and a bare
//! `XADD` whose entry another connection waits for with `XREAD BLOCK`.

use std::{
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use coulis::{bus::Bus as _, event::Event, limits::Limits};
use coulis_adapters::{
    feed::{Arrived, Missed, Position, Sink},
    redis::{RedisBus, RedisConfig},
};
use coulis_benches::{DOCUMENT, event};
use coulis_tests::servers::redis::{Keeps, Redis};

const EVENTS: usize = 300_000;
const BATCH: usize = 10_000;
const ROUNDS: usize = 3;
const SINGLES: usize = 5_000;

/// Tells how many events came, when they did.
struct Count(mpsc::Sender<(usize, Instant)>);

impl Sink for Count {
    fn begin(&mut self, _: Position, missed: Option<Missed>) {
        assert_eq!(missed, None);
    }

    fn deliver(&mut self, events: Vec<Arrived>) {
        _ = self.0.send((events.len(), Instant::now()));
    }
}

fn start(server: &Redis) -> (RedisBus, mpsc::Receiver<(usize, Instant)>) {
    let (sender, came) = mpsc::channel();
    let config = RedisConfig::new(format!("redis://127.0.0.1:{}", server.port()), "bench");
    let bus = RedisBus::start(config, Limits::default(), Box::new(Count(sender))).expect("a bus");
    while !bus.health().connected {
        thread::yield_now();
    }
    (bus, came)
}

/// Events a second from the first publish until the last one is at the sink.
fn rate(came: &mpsc::Receiver<(usize, Instant)>, publish: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    publish();
    let (mut count, mut last) = (0, begun);
    while count < EVENTS {
        let (more, at) = came.recv_timeout(Duration::from_secs(30)).expect("events arrive");
        (count, last) = (count + more, at);
    }
    EVENTS as f64 / (last - begun).as_secs_f64()
}

fn many(server: &Redis, events: &[Event]) -> f64 {
    let (bus, came) = start(server);
    rate(&came, || {
        for batch in events.chunks(BATCH) {
            assert!(bus.publish_many(batch).iter().all(Result::is_ok));
        }
    })
}

fn queued(server: &Redis, events: &[Event]) -> f64 {
    let (bus, came) = start(server);
    rate(&came, || {
        for event in events {
            while bus.enqueue(event).is_err() {
                thread::yield_now();
            }
        }
    })
}

/// What the server alone takes of the same payload.
fn anchor(server: &Redis) -> f64 {
    let port = server.port().to_string();
    let count = EVENTS.to_string();
    let command = ["-p", &port, "-P", "64", "-n", &count, "-c", "1", "-q", "--csv"];
    let payload = ["XADD", "anchor", "MAXLEN", "~", "1000000", "*", "e", DOCUMENT];
    let output =
        Command::new("redis-benchmark").args(command).args(payload).output().expect("redis-benchmark");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The document has commas: the rate is the first number behind it.
    let line = text.lines().last().expect("a line");
    let field = line.rsplit("\",\"").nth(6).unwrap_or_else(|| panic!("{line}"));
    field.parse().unwrap_or_else(|_| panic!("{line}"))
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// From publish to sink, one event at a time.
fn single(server: &Redis) -> (Duration, Duration) {
    let (bus, came) = start(server);
    let event = event();
    let one = || {
        let begun = Instant::now();
        bus.publish(&event).expect("accepted");
        came.recv_timeout(Duration::from_secs(30)).expect("it arrives").1 - begun
    };
    percentiles((0..SINGLES).map(|_| one()).collect())
}

/// A bare `XADD` until `XREAD BLOCK` has its entry.
fn bare(server: &Redis) -> (Duration, Duration) {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).expect("a client");
    let client = Arc::new(client);
    let connect = |client: &redis::Client| {
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let info = client.get_connection_info().clone().set_tcp_settings(tcp);
        redis::Client::open(info).and_then(|client| client.get_connection()).expect("a connection")
    };
    let (sender, came) = mpsc::channel();
    let mut writer = connect(&client);
    let reader = thread::spawn(move || {
        let mut reader = connect(&client);
        let mut last = "0-0".to_owned();
        for _ in 0..SINGLES {
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(64).arg("BLOCK").arg(0).arg("STREAMS").arg("bare").arg(&last);
            type Answer = Vec<(String, Vec<(String, Vec<Vec<u8>>)>)>;
            let answer: Answer = command.query(&mut reader).expect("an entry");
            last.clone_from(&answer[0].1[0].0);
            _ = sender.send(Instant::now());
        }
    });
    let mut one = || {
        let begun = Instant::now();
        let command = redis::cmd("XADD").arg("bare").arg("*").arg("e").arg(DOCUMENT).to_owned();
        let _: String = command.query(&mut writer).expect("an id");
        came.recv().expect("it arrives") - begun
    };
    let times = (0..SINGLES).map(|_| one()).collect();
    reader.join().expect("a reader");
    percentiles(times)
}

fn main() {
    // cargo asks every benchmark for its name, too.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let server = Redis::start(Keeps::Nothing, &[]);
    let events: Vec<_> = (0..EVENTS).map(|_| event()).collect();
    println!("{EVENTS} events of {} bytes, {ROUNDS} rounds, events a second", DOCUMENT.len());
    for _ in 0..ROUNDS {
        server.ask(&["FLUSHALL"]);
        let anchor = anchor(&server);
        server.ask(&["FLUSHALL"]);
        let many = many(&server, &events);
        server.ask(&["FLUSHALL"]);
        let queued = queued(&server, &events);
        println!(
            "XADD -P 64: {anchor:.0}; publish_many: {many:.0} ({:.0} %); enqueue: {queued:.0} ({:.0} %)",
            100.0 * many / anchor,
            100.0 * queued / anchor
        );
    }
    for _ in 0..ROUNDS {
        server.ask(&["FLUSHALL"]);
        let ((bare, bare_late), (bus, bus_late)) = (bare(&server), single(&server));
        println!(
            "one event, p50 and p99: XADD to XREAD {bare:?} {bare_late:?}; publish to sink {bus:?} {bus_late:?}"
        );
    }
}
