//! What do the outbox and its doorbell cost the database, and how soon after a commit is an event there?
//!
//! Against a real server of its own, with `fsync`. Each figure stands beside what it is measured against, in the same
//! run: a plain table with the same columns and key, commits without a reader, and commits that always notify.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use coulis::{bus::Bus as _, event::Event, limits::Limits};
use coulis_adapters::{
    feed::{Arrived, Missed, Position, Sink},
    postgres::{PostgresBus, PostgresConfig, install},
};
use coulis_benches::{DOCUMENT, event};
use coulis_tests::servers::{postgres::Postgres, until};
use postgres::{Client, NoTls};

const BATCH: usize = 512;
const ROUNDS: usize = 60;
const COMMITS: usize = 1_000;
const WRITERS: usize = 8;
const SPELL: Duration = Duration::from_secs(4);

/// Tells when each event came.
#[derive(Debug)]
struct Clock(flume::Sender<Instant>);

impl Sink for Clock {
    fn begin(&mut self, _: Position, _: Option<Missed>) {}

    fn deliver(&mut self, events: Vec<Arrived>) {
        let now = Instant::now();
        for _ in events {
            self.0.send(now).expect("somebody listens");
        }
    }
}

fn main() {
    let server = Postgres::start(&["fsync=on", "shared_buffers=256MB", "max_wal_size=4GB"]);
    install(&PostgresConfig::new(server.url())).expect("the schema");
    server.sql(
        "create table plain (position bigserial, created_at timestamptz default now(), bytes int, channel text,
            event_type text, data json, before json, tenant_id text, user_id text, federation_service text,
            federation_id text, id text, primary key (position, created_at))",
    );
    batches(&server);
    commits(&server);
    let (ticks, clock) = flume::bounded(1 << 20);
    let config = PostgresConfig { history_events_max: 0, ..PostgresConfig::new(server.url()) };
    let bus = PostgresBus::start(config, Limits::default(), Box::new(Clock(ticks))).expect("a bus");
    until("the bus is connected", || bus.health().connected);
    through(&bus, &clock);
    latency(&server, &clock);
    idle(&server);
}

fn connect(server: &Postgres) -> Client {
    Client::connect(&server.url(), NoTls).expect("a session")
}

/// The same rows in batches, by the function and into a plain table, in turn.
fn batches(server: &Postgres) {
    let mut client = connect(server);
    let column = |value: &str| vec![value.to_owned(); BATCH];
    let (channels, types, datas) = (column("earthquakes"), column("reported"), column(DOCUMENT));
    let publish = client.prepare("select coulis.publish_many($1, $2, $3)").expect("a statement");
    let insert = client
        .prepare(
            "insert into plain (bytes, channel, event_type, data)
            select octet_length(d), c, t, d::json from unnest($1::text[], $2::text[], $3::text[]) as e (c, t, d)",
        )
        .expect("a statement");
    let mut spent = [Duration::ZERO; 2];
    for _ in 0..ROUNDS {
        for (statement, spent) in [&publish, &insert].into_iter().zip(&mut spent) {
            let start = Instant::now();
            client.execute(statement, &[&channels, &types, &datas]).expect("a batch");
            *spent += start.elapsed();
        }
    }
    let [published, inserted] = spent.map(|spent| (ROUNDS * BATCH) as f64 / spent.as_secs_f64());
    let share = 100.0 * published / inserted;
    println!(
        "batches of {BATCH}: {published:.0} events/s by the function, {inserted:.0} rows/s plain: {share:.0} %"
    );
}

/// One event in each transaction, by many writers.
fn commits(server: &Postgres) {
    let insert = "insert into plain (bytes, channel, event_type, data) values (2, 'c', 't', '{}')";
    let publish = "select coulis.publish('c', 't', '{}')";
    let (ticks, clock) = flume::bounded(1 << 20);
    for (what, statement) in [
        ("inserts into the plain table", insert),
        ("publishes that nobody reads", publish),
        ("publishes that a bus reads", publish),
        ("publishes that always notify", publish),
    ] {
        let config = PostgresConfig { history_events_max: 0, ..PostgresConfig::new(server.url()) };
        let bus = what.contains("a bus").then(|| {
            let bus =
                PostgresBus::start(config, Limits::default(), Box::new(Clock(ticks.clone()))).expect("a bus");
            until("the bus is connected", || bus.health().connected);
            bus
        });
        if what.contains("always") {
            server.sql("select coulis.arm()");
        } else if bus.is_none() {
            server.sql("select coulis.disarm((select bell from coulis.arm()))");
        }
        let start = Instant::now();
        let count: usize = thread::scope(|scope| {
            let write = || {
                let mut client = connect(server);
                let statement = client.prepare(statement).expect("a statement");
                let mut count = 0;
                while start.elapsed() < SPELL {
                    client.execute(&statement, &[]).expect("a commit");
                    count += 1;
                }
                count
            };
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
            writers.into_iter().map(|writer| writer.join().expect("a writer")).sum()
        });
        let rate = count as f64 / start.elapsed().as_secs_f64();
        println!("{WRITERS} writers: {rate:.0} commits/s, {what}");
        if let Some(bus) = bus {
            until("everything is read", || bus.health().received >= count as u64);
            bus.close(Duration::from_secs(5));
        }
        clock.drain();
    }
    server.sql("select coulis.disarm((select bell from coulis.arm()))");
}

/// From `publish_many` to the node.
fn through(bus: &PostgresBus, clock: &flume::Receiver<Instant>) {
    let events: Vec<Event> = (0..BATCH * ROUNDS).map(|_| event()).collect();
    let start = Instant::now();
    assert!(bus.publish_many(&events).iter().all(Result::is_ok));
    let published = events.len() as f64 / start.elapsed().as_secs_f64();
    clock.iter().take(events.len()).for_each(drop);
    let read = events.len() as f64 / start.elapsed().as_secs_f64();
    println!("the bus: {published:.0} events/s committed, {read:.0} events/s until they were read");
}

/// Single commits at random moments: the reader is on any step of its way to sleep.
fn latency(server: &Postgres, clock: &flume::Receiver<Instant>) {
    let mut client = connect(server);
    for (name, span) in [("0 to 5 ms apart", 5_000), ("0 to 40 ms apart", 40_000)] {
        let (mut whole, mut after) = (Vec::new(), Vec::new());
        for round in 0..COMMITS {
            thread::park_timeout(Duration::from_micros(round as u64 * 7_919 % span));
            let start = Instant::now();
            client.batch_execute("select coulis.publish('c', 't', '{}')").expect("a commit");
            let committed = Instant::now();
            let there = clock.recv().expect("an event");
            whole.push(there - start);
            after.push(there.saturating_duration_since(committed));
        }
        for (what, mut spans) in [("commit → node", after), ("statement → node", whole)] {
            spans.sort_unstable();
            let [half, most] = [COMMITS / 2, COMMITS * 99 / 100].map(|index| spans[index]);
            println!("{what}, {name}: p50 {half:.2?}, p99 {most:.2?}");
        }
    }
}

/// What a reader takes that has nothing to read.
fn idle(server: &Postgres) {
    let count = || {
        let sum = server.sql(
            "select pg_stat_clear_snapshot(), xact_commit from pg_stat_database where datname = 'postgres'",
        );
        sum.trim_start_matches('|').parse::<u64>().expect("a count")
    };
    thread::park_timeout(SPELL);
    let (before, start, processor) = (count(), Instant::now(), processor_ticks());
    thread::park_timeout(SPELL * 2);
    let (rate, ticks) =
        ((count() - before) as f64 / start.elapsed().as_secs_f64(), processor_ticks() - processor);
    println!("idle: {rate:.1} transactions/s, {} ms of processor time in {:?}", ticks * 10, SPELL * 2);
}

/// Hundredths of a second that this process took.
fn processor_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().map(|index| fields[*index].parse::<u64>().expect("a number")).sum()
}
