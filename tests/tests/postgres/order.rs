//! Every committed event once, and in the same order for everybody.

use std::{
    collections::HashSet,
    sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use coulis::bus::Bus as _;
use coulis_adapters::postgres::PostgresConfig;
use coulis_tests::servers::{postgres::Postgres, until};

use crate::support::{close, config, connected, event, session};

/// A bus that never looks by itself while it sleeps: whoever publishes has to wake it.
fn sleepy(server: &Postgres) -> PostgresConfig {
    PostgresConfig { poll_every: Duration::from_secs(3_600), ..config(server) }
}

/// One writer: transactions of one to three events with a delay before their end, one in ten rolled back. Answers what
/// it committed.
fn write(server: &Postgres, writer: u64, rows: usize) -> Vec<String> {
    let mut client = session(server);
    let mut committed = Vec::new();
    let mut random = writer.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let mut count = 0;
    while committed.len() < rows {
        let mut transaction = client.transaction().unwrap();
        let mut written = Vec::new();
        for _ in 0..=next(3) {
            let document = format!(r#"{{"w":{writer},"n":{count}}}"#);
            count += 1;
            let sql = format!(
                "select coulis_publish('c', 't', '{document}'); insert into naive (data) values ('{document}')"
            );
            transaction.batch_execute(&sql).unwrap();
            written.push(document);
        }
        transaction.batch_execute(&format!("select pg_sleep({})", next(4) as f64 / 1_000.0)).unwrap();
        if next(10) == 0 {
            transaction.rollback().unwrap();
        } else {
            transaction.commit().unwrap();
            committed.append(&mut written);
        }
    }
    committed
}

/// The reader that everybody writes first: what is numbered above the last.
fn read_naively(server: &Postgres, over: &AtomicBool) -> HashSet<String> {
    let mut client = session(server);
    let mut last = 0_i64;
    let mut seen = HashSet::new();
    loop {
        let done = over.load(SeqCst);
        let rows = client.query("select id, data from naive where id > $1 order by id", &[&last]).unwrap();
        for row in &rows {
            last = row.get(0);
            seen.insert(row.get(1));
        }
        if done && rows.is_empty() {
            return seen;
        }
    }
}

/// `COULIS_OUTBOX_ROWS=100000` for the long form.
#[test]
fn sixteen_writers_lose_nothing_and_a_naive_reader_beside_them_does() {
    let rows = std::env::var("COULIS_OUTBOX_ROWS").map_or(4_000, |rows| rows.parse().unwrap());
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(sleepy(&server));
    let (other, twin) = connected(sleepy(&server));
    server.sql("create table naive (id bigserial primary key, data text)");
    let over = AtomicBool::new(false);
    let (committed, naive) = thread::scope(|scope| {
        let naive = scope.spawn(|| read_naively(&server, &over));
        let writers: Vec<_> = (1..=16)
            .map(|writer| {
                scope.spawn({
                    let server = &server;
                    move || write(server, writer, rows / 16)
                })
            })
            .collect();
        let committed: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        over.store(true, SeqCst);
        (committed, naive.join().unwrap())
    });
    let mut got = seen.wait_for(committed.len());
    assert_eq!(got.len(), committed.len(), "some came twice");
    assert!(seen.offsets().is_sorted_by(|one, next| one < next), "out of order");
    twin.wait_for(committed.len());
    assert_eq!((seen.offsets(), &got), (twin.offsets(), &twin.data()), "two nodes see two orders");
    // Of one writer, everything comes in the order in which it was written.
    for writer in 1..=16 {
        let of = |documents: &[String]| -> Vec<String> {
            let start = format!(r#"{{"w":{writer},"#);
            documents.iter().filter(|document| document.starts_with(&start)).cloned().collect()
        };
        assert_eq!(of(&got), of(&committed));
    }
    got.sort_unstable();
    let mut expected = committed.clone();
    expected.sort_unstable();
    assert_eq!(got, expected);
    let lost = committed.iter().filter(|document| !naive.contains(*document)).count();
    assert!(lost > 0, "the naive reader lost nothing: this test is too weak");
    println!("{} committed, the naive reader lost {lost}", committed.len());
    drop(other);
    close(&bus, &server);
}

#[test]
fn an_open_transaction_holds_back_what_comes_after_it_and_nothing_is_lost() {
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(sleepy(&server));
    let mut first = session(&server);
    for (end, expected) in [("commit", vec!["1", "2"]), ("rollback", vec!["1", "2", "2"])] {
        first.batch_execute("begin; select coulis_publish('c', 't', '1')").unwrap();
        bus.publish(&event("2")).unwrap();
        let held = || bus.health().held_back.is_some_and(|held| held > Duration::from_millis(200));
        until("it is told how long it is held back", held);
        assert_eq!(seen.len(), if end == "commit" { 0 } else { 2 });
        first.batch_execute(end).unwrap();
        assert_eq!(seen.wait_for(expected.len()), expected);
        until("nothing is held back", || bus.health().held_back.is_none());
    }
    // A transaction that publishes nothing holds back, too, and its end wakes nobody.
    first.batch_execute("begin; select pg_current_xact_id()").unwrap();
    bus.publish(&event("3")).unwrap();
    until("it is held back", || bus.health().held_back.is_some_and(|held| held > Duration::from_millis(200)));
    first.batch_execute("rollback").unwrap();
    assert_eq!(seen.wait_for(4)[3], "3");
}

/// One reader sleeps; another one arms a bell after it, is held back, and disarms.
#[test]
fn a_reader_that_is_held_back_wakes_those_that_sleep() {
    let server = Postgres::start(&[]);
    let (_bus, sleeper) = connected(sleepy(&server));
    let bells = |fact: &str| {
        server.sql(&format!(
            "select {fact} from coalesce(pg_sequence_last_value('coulis.armed'), 0) as armed,
            coalesce(pg_sequence_last_value('coulis.rung'), 0) as rung"
        )) == "t"
    };
    until("the reader is asleep", || bells("armed > rung"));
    let mut holder = session(&server);
    holder.batch_execute("begin; select pg_current_xact_id()").unwrap();
    let (_other, held) =
        connected(PostgresConfig { poll_every: Duration::from_millis(10), ..config(&server) });
    until("the other reader is held back", || bells("armed > 1 and armed = rung"));
    // Nobody's bell is armed: this wakes nobody.
    server.sql("select coulis_publish('c', 't', '1')");
    holder.batch_execute("rollback").unwrap();
    held.wait_for(1);
    assert_eq!(sleeper.wait_for(1), ["1"]);
}

#[test]
fn what_is_rolled_back_to_a_savepoint_is_not_published() {
    let server = Postgres::start(&[]);
    let (_bus, seen) = connected(sleepy(&server));
    let publish = |number: u32| format!("select coulis_publish('c', 't', '{number}');");
    let [one, two, three, four, five] = [1, 2, 3, 4, 5].map(publish);
    server.sql(&format!(
        "begin; {one} savepoint a; {two} savepoint b; {three} rollback to b; {four} release a; {five} commit"
    ));
    let [six, seven, eight, nine, ten] = [6, 7, 8, 9, 10].map(publish);
    server.sql(&format!("begin; {six} savepoint a; {seven} rollback to a; {eight} commit"));
    server.sql(&format!("begin; {nine} rollback"));
    server.sql(&ten);
    assert_eq!(seen.wait_for(7), ["1", "2", "4", "5", "6", "8", "10"]);
    assert!(seen.offsets().is_sorted_by(|one, next| one < next));
}

#[test]
fn prepared_transactions_are_published_when_they_are_committed() {
    let server = Postgres::start(&["max_prepared_transactions=2"]);
    let (bus, seen) = connected(config(&server));
    server.sql(
        "begin; set local coulis.doorbell = off; select coulis_publish('c', 't', '1'); prepare transaction 'p'",
    );
    bus.publish(&event("2")).unwrap();
    until("it is held back", || bus.health().held_back.is_some_and(|held| held > Duration::from_millis(100)));
    assert_eq!(seen.len(), 0);
    server.sql("commit prepared 'p'");
    assert_eq!(seen.wait_for(2), ["1", "2"]);
}

/// Rounds of writers that publish together, each round at another moment of the reader's way to sleep, and with
/// transactions that begin before it sleeps and end after.
#[test]
fn whoever_publishes_wakes_a_reader_that_sleeps() {
    const ROUNDS: usize = 120;
    const WRITERS: usize = 3;
    let server = Postgres::start(&[]);
    let (_bus, seen) = connected(sleepy(&server));
    thread::scope(|scope| {
        // Whoever is told no more ends: a round that fails leaves nobody waiting.
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (start, rounds) = mpsc::channel();
                let server = &server;
                scope.spawn(move || {
                    let mut client = session(server);
                    for round in rounds {
                        let pause: usize = (round * 137 + writer * 1_009) % 14_000;
                        thread::park_timeout(Duration::from_micros(pause as u64));
                        let mut transaction = client.transaction().unwrap();
                        transaction.batch_execute("select coulis_publish('c', 't', '0')").unwrap();
                        transaction.batch_execute(&format!("select pg_sleep(0.0{writer}2)")).unwrap();
                        transaction.commit().unwrap();
                    }
                });
                start
            })
            .collect();
        for round in 1..=ROUNDS {
            writers.iter().for_each(|writer| writer.send(round).unwrap());
            // A reader that is not woken never wakes.
            seen.wait_for(round * WRITERS);
        }
        drop(writers);
    });
    let armed = "select (select last_value from coulis.armed) > (select last_value from coulis.rung)";
    until("the reader is asleep", || server.sql(armed) == "t");
}

#[test]
fn a_new_node_begins_with_what_is_kept() {
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(config(&server));
    let events: Vec<_> = (1..=10).map(|number| event(&number.to_string())).collect();
    assert!(bus.publish_many(&events).iter().all(Result::is_ok));
    seen.wait_for(10);
    let offsets = seen.offsets();
    let (_all, whole) = connected(config(&server));
    assert_eq!(whole.wait_for(10), seen.data());
    let (_some, part) = connected(PostgresConfig { history_events_max: 4, ..config(&server) });
    assert_eq!(part.wait_for(4), ["7", "8", "9", "10"]);
    assert_eq!(part.offsets(), offsets[6..]);
    let begins = [seen.begins(), whole.begins(), part.begins()].map(|begins| begins[0]);
    assert!(begins.iter().all(|(_, missed)| missed.is_none()));
    assert!(begins.iter().all(|(position, _)| position.epoch == begins[0].0.epoch));
    assert_eq!((begins[1].0.offset, begins[2].0.offset), (0, offsets[5]));
    let (_none, none) = connected(PostgresConfig { history_events_max: 0, ..config(&server) });
    until("it has begun", || !none.begins().is_empty());
    assert_eq!(none.begins()[0].0.offset, offsets[9]);
}
