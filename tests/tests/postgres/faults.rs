//! Cuts, crashes and silence: what was acknowledged is there once, and everything that is there is read once.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use coulis::bus::Bus as _;
use coulis_adapters::postgres::{PostgresBus, PostgresConfig, install};
use coulis_tests::servers::{
    postgres::Postgres,
    proxy::{Fault, Proxy},
    until,
};

use crate::support::{Seen, close, config, connected, event, named, session, start};

/// Has a session end itself without a word; the server recovers from it.
const CRASH: &str = "execute format('copy (select 1) to program %L', 'kill -9 ' || pg_backend_pid())";

/// Settings that give a server up soon.
fn hasty(server: &Postgres) -> PostgresConfig {
    PostgresConfig { answer_max: Duration::from_millis(500), ..config(server) }
}

/// The same, with the writer behind a proxy.
fn behind(proxy: &Proxy, server: &Postgres) -> PostgresConfig {
    let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    PostgresConfig { connection_string: url, reader_connection_string: Some(server.url()), ..hasty(server) }
}

/// How often each document is in the outbox.
fn stored(server: &Postgres) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for document in server.sql("select data from coulis.outbox order by position").lines() {
        *counts.entry(document.to_owned()).or_default() += 1;
    }
    counts
}

/// What is stored was read, once and in order, whoever published it.
fn assert_all_read(server: &Postgres, seen: &Seen) {
    let stored = server.sql("select data from coulis.outbox order by position");
    let stored: Vec<_> = stored.lines().map(str::to_owned).collect();
    until("everything is read", || seen.len() >= stored.len());
    assert_eq!(seen.data(), stored);
    assert!(seen.begins().iter().skip(1).all(|(_, missed)| missed.is_none()), "{:?}", seen.begins());
}

#[test]
fn a_wrong_password_is_told_and_a_right_one_works() {
    let server = Postgres::start(&[]);
    server.sql("create role guarded superuser login password 'right'");
    server.ask_for_password("guarded");
    let url = server.url_of("guarded:wrong");
    let publish_wait_max = Duration::from_millis(200);
    let settings = PostgresConfig { connection_string: url, publish_wait_max, ..hasty(&server) };
    let (bus, seen) = start(settings);
    let is_told = |text: &str| text.contains("password authentication failed");
    until("it is told", || bus.health().error.is_some_and(|error| is_told(&error)));
    let error = bus.publish(&event("1")).unwrap_err();
    assert!(is_told(&error.reason) && !error.unknown && !error.reason.contains("wrong"), "{error}");
    server.sql("alter role guarded password 'wrong'");
    until("it is connected", || bus.health().connected);
    bus.publish(&event("2")).unwrap();
    assert_eq!(seen.wait_for(1), ["2"], "what was given up is not published after all");
    close(&bus, &server);
}

#[test]
fn a_full_disk_refuses_by_name_and_loses_nothing_that_was_taken() {
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(config(&server));
    bus.publish(&event("0")).unwrap();
    // Above the size of a file of the write-ahead log, which a server cannot do without.
    server.limit_files(Some(20 << 20));
    let mut taken = vec!["0".to_owned()];
    let refused = loop {
        // Digits that do not compress.
        let digits: String =
            (0..56_000).map(|_| format!("{:016x}", RandomState::new().hash_one(0))).collect();
        let document = format!("\"{digits}\"");
        match bus.publish(&event(&document)) {
            Ok(_) => taken.push(document),
            Err(error) => break error,
        }
        assert!(taken.len() < 100, "the disk is not full");
    };
    assert!(refused.reason.contains("could not extend file") && !refused.unknown, "{refused}");
    server.limit_files(None);
    taken.push("1".into());
    until("there is room again", || bus.publish(&event("1")).is_ok());
    assert!(seen.wait_for(taken.len()) == taken, "what was taken arrives, and nothing else");
    close(&bus, &server);
}

#[test]
fn a_cut_anywhere_in_the_answers_publishes_once() {
    let server = Postgres::start(&[]);
    let proxy = Proxy::start(server.port());
    let (bus, seen) = connected(behind(&proxy, &server));
    let mut cuts = 0;
    for number in 0_usize.. {
        // Past the last byte of the answers, nothing is cut any more.
        let before = proxy.cuts();
        proxy.set(Fault::Cut(1 + number * 5));
        let document = event(&number.to_string());
        bus.publish(&document).unwrap();
        if proxy.cuts() == before {
            break;
        }
        cuts += 1;
    }
    proxy.set(Fault::Pass);
    assert!(cuts > 20, "{cuts} cuts");
    let stored = stored(&server);
    assert_eq!(stored.len(), cuts + 1);
    assert!(stored.values().all(|count| *count == 1), "{stored:?}");
    assert_all_read(&server, &seen);
    assert_eq!(bus.health().reconnects, cuts as u64);
}

/// Retention takes the row while the answer to COMMIT is not heard: here with the commit itself.
#[test]
fn what_retention_took_before_its_commit_was_heard_is_unknown_and_not_sent_again() {
    let server = Postgres::start(&[]);
    let proxy = Proxy::start(server.port());
    let (bus, _) = connected(behind(&proxy, &server));
    server.sql(
        "create table sent (document text);
        create function forget() returns trigger language plpgsql security definer as $$ begin
            insert into public.sent values (new.data);
            delete from coulis.outbox where position = new.position;
            update coulis.meta set dropped_through = new.position;
            return null;
        end $$;
        create trigger forget after insert on coulis.outbox for each row execute function forget()",
    );
    let mut unknown = 0;
    for number in 0_usize.. {
        // More seldom than an answer to COMMIT is long.
        let cuts = proxy.cuts();
        proxy.set(Fault::Cut(1 + number * 15));
        let result = bus.publish(&event(&number.to_string()));
        unknown += usize::from(result.is_err_and(|error| {
            assert!(error.unknown && error.reason.contains("`retention`"), "{error}");
            true
        }));
        if proxy.cuts() == cuts {
            break;
        }
    }
    assert!(unknown > 0, "no answer to COMMIT was cut");
    assert_eq!(server.sql("select document from sent group by document having count(*) > 1"), "");
}

/// As if an answer of more than one event took too long: no connection brings more.
#[test]
fn a_page_that_does_not_come_through_is_asked_for_in_halves() {
    const EVENTS: usize = 4;
    let server = Postgres::start(&[]);
    install(&config(&server)).unwrap();
    let event = format!("select coulis_publish('c', 't', '\"{}\"')", "x".repeat(100_000));
    for _ in 0..EVENTS {
        server.sql(&event);
    }
    let proxy = Proxy::start(server.port());
    let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    proxy.set(Fault::Cut(150_000));
    let reader =
        PostgresConfig { reader_connection_string: Some(url), batch_events_max: EVENTS, ..hasty(&server) };
    let (_bus, seen) = start(reader);
    let mut cuts = 0;
    until("everything is read", || {
        if proxy.cuts() > cuts {
            cuts = proxy.cuts();
            proxy.set(Fault::Cut(150_000));
        }
        seen.len() == EVENTS
    });
    assert!(cuts >= 2, "{cuts} cuts");
    assert!(seen.offsets().is_sorted_by(|one, next| one < next));
}

/// Through a slow wire, an event of this size takes longer than `answer_max`.
fn large() -> String {
    format!("\"{}\"", "x".repeat(1_000_000))
}

#[test]
fn one_event_that_comes_slowly_is_waited_for() {
    let server = Postgres::start(&[]);
    install(&config(&server)).unwrap();
    server
        .sql("select coulis_publish('c', 't', to_json(repeat('x', 1000000))), coulis_publish('c', 't', '2')");
    let proxy = Proxy::start(server.port());
    let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    proxy.set(Fault::Slow(Duration::from_millis(20)));
    let (bus, seen) = start(PostgresConfig { reader_connection_string: Some(url), ..hasty(&server) });
    until("both come", || seen.data() == [large().as_str(), "2"]);
    assert!(bus.health().reconnects > 0, "the wire was not slow: this test is too weak");
}

#[test]
fn one_event_that_goes_too_slowly_is_refused_and_those_after_it_go() {
    let server = Postgres::start(&[]);
    let proxy = Proxy::start(server.port());
    let (bus, seen) =
        connected(PostgresConfig { publish_wait_max: Duration::from_secs(60), ..behind(&proxy, &server) });
    proxy.set(Fault::Slow(Duration::from_millis(20)));
    let refused = bus.publish(&event(&large())).unwrap_err();
    assert!(refused.transient && !refused.unknown && refused.reason.contains("connection"), "{refused:?}");
    bus.publish(&event("2")).unwrap();
    proxy.set(Fault::Pass);
    bus.publish(&event(&large())).unwrap();
    until("both come", || seen.data() == ["2", &large()]);
}

/// As if more than one event took too long: whoever writes more at once is cut off before COMMIT.
#[test]
fn a_batch_that_does_not_come_through_is_sent_in_halves() {
    let server = Postgres::start(&[]);
    let (bus, seen) =
        connected(PostgresConfig { publish_wait_max: Duration::from_secs(60), ..hasty(&server) });
    server.sql(&format!(
        "create function cut() returns trigger language plpgsql as $$ begin
            if (select count(*) from fresh) > 1 then {CRASH}; end if;
            return null;
        end $$;
        create trigger cut after insert on coulis.outbox referencing new table as fresh
        for each statement execute function cut()"
    ));
    let events: Vec<_> = (0..8).map(|number| event(&number.to_string())).collect();
    let results = bus.publish_many(&events);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(bus.health().reconnects > 0, "no batch was of several events: this test is too weak");
    assert_eq!(seen.wait_for(8), (0..8).map(|number| number.to_string()).collect::<Vec<_>>());
    close(&bus, &server);
}

/// As if the server always broke on it.
#[test]
fn one_event_that_crashes_each_session_is_refused_and_those_after_it_go() {
    let server = Postgres::start(&[]);
    let publish_wait_max = Duration::from_secs(120);
    let (bus, seen) = connected(PostgresConfig { publish_wait_max, ..config(&server) });
    server.sql(&format!(
        "create function die() returns trigger language plpgsql as $$ begin
            if new.data::text = '1' then {CRASH}; end if;
            return null;
        end $$;
        create trigger die after insert on coulis.outbox for each row execute function die()"
    ));
    let refused = bus.publish(&event("1")).unwrap_err();
    assert!(refused.transient && !refused.unknown && refused.reason.contains("server's log"), "{refused:?}");
    assert!(bus.health().reconnects >= 2, "it was not tried again");
    bus.publish(&event("2")).unwrap();
    assert_eq!(seen.wait_for(1), ["2"]);
}

/// The client gives up waiting, and the old session goes on: its end is waited for before anything is sent again.
#[test]
fn a_commit_that_still_runs_is_not_sent_beside_itself() {
    for (sleep, outcome) in [("3600", "is ended"), ("0.8", "ends by itself")] {
        let server = Postgres::start(&[]);
        let (bus, seen) =
            connected(PostgresConfig { publish_wait_max: Duration::from_secs(30), ..hasty(&server) });
        server.sql(&format!(
            "create sequence slow; create function slow() returns trigger language plpgsql security definer as $$ begin
                if nextval('public.slow') = 1 then perform pg_sleep({sleep}); end if; return null;
            end $$;
            create constraint trigger slow after insert on coulis.seen deferrable initially deferred
            for each row execute function slow()"
        ));
        bus.publish(&named("a", "1")).unwrap();
        bus.publish(&named("b", "2")).unwrap();
        assert_eq!(seen.wait_for(2), ["1", "2"], "{outcome}");
        assert_eq!(server.sql("select count(*) from coulis.outbox"), "2", "{outcome}");
        assert!(bus.health().reconnects >= 1, "{outcome}");
    }
}

#[test]
fn a_session_that_is_terminated_in_the_middle_publishes_once() {
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(PostgresConfig { batch_events_max: 7, ..config(&server) });
    let over = AtomicBool::new(false);
    let published = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut count = 0;
            while !over.load(SeqCst) {
                let events: Vec<_> =
                    (count..count + 20).map(|number: i32| event(&number.to_string())).collect();
                let refused: Vec<_> = bus.publish_many(&events).into_iter().filter_map(Result::err).collect();
                assert!(refused.is_empty(), "{refused:?}");
                count += 20;
            }
            count
        });
        let mut client = session(&server);
        for _ in 0..40 {
            let reconnects = bus.health().reconnects;
            client
                .batch_execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'coulis'")
                .unwrap();
            until("both connect again", || {
                bus.health().reconnects >= reconnects + 2 && bus.health().connected
            });
        }
        over.store(true, SeqCst);
        publisher.join().unwrap()
    });
    seen.wait_for(published as usize);
    let expected: Vec<_> = (0..published).map(|number| number.to_string()).collect();
    assert_eq!(seen.data(), expected);
    assert_all_read(&server, &seen);
    close(&bus, &server);
}

/// What a publisher was told of each of its events.
#[derive(Default)]
struct Told {
    taken: Vec<String>,
    refused: Vec<String>,
    unknown: Vec<String>,
}

fn publish_until(bus: &PostgresBus, over: &AtomicBool, taken: &AtomicUsize) -> Told {
    let mut told = Told::default();
    for number in 0.. {
        if over.load(SeqCst) {
            break;
        }
        let document = format!("{number}");
        match bus.publish(&event(&document)) {
            Ok(_) => {
                told.taken.push(document);
                taken.fetch_add(1, SeqCst);
            }
            Err(error) if error.unknown => told.unknown.push(document),
            Err(_) => told.refused.push(document),
        }
    }
    told
}

/// One fault, and its end.
fn fault(number: usize, server: &mut Postgres, proxy: &Proxy) {
    let wait = |millis: u64| thread::park_timeout(Duration::from_millis(millis));
    match number % 8 {
        0 => server.restart(),
        1 => proxy.set(Fault::Reset),
        2 => {
            server.stop();
            wait(100 + (number as u64 * 97) % 900);
            server.go_on();
        }
        3 => {
            proxy.set(Fault::Hole);
            wait(700);
            proxy.set(Fault::Reset);
        }
        4 => {
            proxy.set(Fault::Cut(1 + number * 37 % 400));
            let cuts = proxy.cuts();
            until("it is cut", || proxy.cuts() > cuts);
        }
        5 => {
            server.sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'coulis'",
            );
        }
        6 => {
            proxy.set(Fault::Refuse);
            wait(300);
            proxy.set(Fault::Pass);
        }
        _ => {
            server.kill();
            wait(300);
            server.restart();
        }
    }
}

/// `COULIS_FAULTS=100` for the long form.
#[test]
fn faults_of_every_kind_lose_nothing_and_repeat_nothing() {
    let faults = std::env::var("COULIS_FAULTS").map_or(8, |faults| faults.parse().unwrap());
    let mut server = Postgres::start(&[]);
    let proxy = Proxy::start(server.port());
    let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let publish_wait_max = Duration::from_millis(400);
    let (bus, seen) =
        connected(PostgresConfig { connection_string: url, publish_wait_max, ..hasty(&server) });
    let (over, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut connecting, mut longest) = (Duration::ZERO, Duration::ZERO);
    let told = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_until(&bus, &over, &taken));
        for number in 0..faults {
            fault(number, &mut server, &proxy);
            let back = Instant::now();
            until("it is connected again", || bus.health().connected);
            connecting = connecting.max(back.elapsed());
            let (before, read) = (taken.load(SeqCst), seen.len());
            until("events are taken and read again", || {
                bus.health().connected && taken.load(SeqCst) > before + 20 && seen.len() > read + 20
            });
            longest = longest.max(back.elapsed());
        }
        over.store(true, SeqCst);
        publisher.join().unwrap()
    });
    until("nothing waits to be sent", || bus.health().buffered == 0);
    bus.publish(&event("\"last\"")).unwrap();
    let stored = stored(&server);
    let counts = |documents: &[String]| {
        documents.iter().map(|document| stored.get(document).copied().unwrap_or(0)).collect::<Vec<_>>()
    };
    assert!(
        counts(&told.taken).iter().all(|count| *count == 1),
        "an acknowledged event is lost or there twice"
    );
    assert!(counts(&told.refused).iter().all(|count| *count == 0), "a refused event is there");
    assert!(counts(&told.unknown).iter().all(|count| *count <= 1), "an event is there twice");
    assert_all_read(&server, &seen);
    println!(
        "{faults} faults, {} taken, {} refused, {} unknown; at the longest, {connecting:?} until it was connected again and \
         {longest:?} until twenty events more were published and read",
        told.taken.len(),
        told.refused.len(),
        told.unknown.len()
    );
    close(&bus, &server);
}
