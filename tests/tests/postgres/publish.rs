//! What publishers may rely on.

use std::{
    thread,
    time::{Duration, Instant},
};

use coulis::{
    bus::{Bus as _, BusError},
    event::{Event, Federation},
    id::Identity,
    limits::Limits,
};
use coulis_adapters::postgres::PostgresConfig;
use coulis_tests::servers::{free_port, holds_within, postgres::Postgres, until};

use crate::support::{close, config, connected, event, named, session, start};

#[test]
fn an_event_comes_back_as_it_was() {
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(config(&server));
    let limits = Limits::default();
    // Order of keys, spelling of numbers and every character are kept.
    let document = r#"{ "z":1.50, "a":12345678901234567890.10e2,"text":"é😀\u0000\n" }"#;
    let federation = Federation { service: Identity::new("s"), id: Identity::new("7") };
    let full = Event::new("type", "channel ☃", document.into(), &limits)
        .and_then(|event| event.with_before(r#"{"b" :null}"#.into(), &limits))
        .and_then(|event| event.with_id("id 1", &limits))
        .unwrap()
        .with_tenant(Identity::new("tenant"))
        .with_user(Identity::new("user"))
        .with_federation(federation.clone());
    bus.publish(&full).unwrap();
    let large = format!(r#""{}""#, "x".repeat(limits.event_bytes_max - 2));
    bus.publish(&event(&large)).unwrap();
    seen.wait_for(2);
    assert_eq!(seen.lines()[0], format!(r#"type channel ☃ {document} {{"b" :null}} tenant user"#));
    assert_eq!(seen.data()[1], large);
    let ids = seen.ids();
    assert_eq!(ids[0], "id 1");
    assert_ne!(ids[1], ids[0]);
    let row = server.sql("select federation_service, federation_id from coulis.outbox where id = 'id 1'");
    assert_eq!(row, "s|7");
    assert_eq!((bus.health().accepted, bus.health().received, bus.health().buffered), (2, 2, 0));
    close(&bus, &server);
}

#[test]
fn an_id_is_taken_once_whoever_publishes_it() {
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(config(&server));
    let (other, _) = connected(config(&server));
    thread::scope(|scope| {
        for (bus, reversed) in [(&bus, false), (&other, true)] {
            scope.spawn(move || {
                for round in 0..50 {
                    // Each round in another order, so that they stand in each other's way.
                    let mut events: Vec<_> = (0..8).map(|n| named(&format!("{round}-{n}"), "1")).collect();
                    events.push(named(&format!("{round}-0"), "2"));
                    if reversed {
                        events.reverse();
                    }
                    for result in bus.publish_many(&events) {
                        result.unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(
        server.sql(
            "select coulis_publish('c', 't', '3', id => 'sql') = coulis_publish('c', 't', '4', id => 'sql')"
        ),
        "t"
    );
    bus.publish(&named("sql", "5")).unwrap();
    bus.publish(&event("6")).unwrap();
    seen.wait_for(50 * 8 + 2);
    let mut ids = seen.ids();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((seen.len(), ids.len()), (402, 402));
    assert_eq!(seen.data()[400..], ["3", "6"]);
}

#[test]
fn an_event_that_is_refused_is_refused_alone() {
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(config(&server));
    server.sql("update coulis.meta set name_bytes_max = 100, event_bytes_max = 1000");
    let limits = Limits::default();
    let long_name = Event::new("t", "c".repeat(101), "1".into(), &limits).unwrap();
    let nul = Event::new("t", "c\0", "1".into(), &limits).unwrap();
    let large = event(&format!(r#""{}""#, "x".repeat(1_000)));
    let events = [event("1"), long_name, event("2"), event("3"), nul, large, event("4")];
    let results = bus.publish_many(&events);
    let reasons: Vec<_> =
        results.iter().map(|result| result.as_ref().err().map(|error| error.reason.as_str())).collect();
    assert!(reasons[1].unwrap().contains("`name_bytes_max` (`100`)"), "{reasons:?}");
    assert!(reasons[4].unwrap().contains("0x00"), "{reasons:?}");
    assert!(reasons[5].unwrap().contains("`event_bytes_max` (`1000`)"), "{reasons:?}");
    assert_eq!(reasons.iter().filter(|reason| reason.is_some()).count(), 3);
    assert!(
        results
            .iter()
            .flat_map(|result| result.as_ref().err())
            .all(|error| !error.transient && !error.unknown)
    );
    assert_eq!(seen.wait_for(4), ["1", "2", "3", "4"]);
}

#[test]
fn what_is_no_event_is_refused_in_sql_with_a_reason() {
    let server = Postgres::start(&[]);
    let (_bus, _seen) = connected(config(&server));
    let mut client = session(&server);
    let long = "x".repeat(1_025);
    let large = "x".repeat(1 << 20);
    for (arguments, part) in [
        ("'', 't', '1'".into(), "`channel` cannot be empty"),
        ("null, 't', '1'".into(), "`channel` cannot be empty"),
        ("'c', '', '1'".into(), "`event_type` cannot be empty"),
        ("'c', 't', '{'".into(), "json"),
        ("'c', 't', '1', before => '{'".into(), "json"),
        (format!("'{long}', 't', '1'"), "`1025` bytes is above `name_bytes_max` (`1024`)"),
        (format!("'c', 't', '1', user_id => '{long}'"), "`name_bytes_max`"),
        (format!("'c', 't', '\"{large}\"'"), "`event_bytes_max`"),
    ] {
        let error = client.batch_execute(&format!("select coulis_publish({arguments})")).unwrap_err();
        let message = error.as_db_error().unwrap().message();
        assert!(message.contains(part), "{message}");
    }
    let many = "select coulis_publish_many(array_fill('c'::text, array[1048576]), array_fill('t'::text, array[1048576]),
        array_fill('1'::text, array[1048576]))";
    let error = client.batch_execute(many).unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("more than 1048575 events"), "{error}");
    let error = client
        .batch_execute("select coulis_publish_many(array['c'], array['t', 't'], array['1'])")
        .unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("not of one length"), "{error}");
    assert_eq!(server.sql("select count(*) from coulis.outbox"), "0");
}

#[test]
fn json_of_every_kind_is_published_and_what_is_no_event_is_left_out() {
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(config(&server));
    server.sql("select coulis_publish('c', 't', '{\"a\" :1}'), coulis_publish('c', 't', '{\"b\" :1}'::json, tenant_id => 'x')");
    server.sql("select coulis_publish('c', 't', '{\"c\" :1}'::jsonb, before => '{\"c\" :0}'::jsonb)");
    // JSON for the database, and no document for an engine: which of the two would count?
    server.sql("select coulis_publish('c', 't', '{\"a\":1,\"a\":2}')");
    server.sql("select coulis_publish('c', 't', null, before => '1')");
    seen.wait_for(4);
    assert_eq!(
        seen.lines(),
        [r#"t c {"a" :1} - - -"#, r#"t c {"b" :1} - x -"#, r#"t c {"c": 1} {"c": 0} - -"#, "t c null 1 - -",]
    );
    assert_eq!(bus.health().malformed, 1);
    // An event that nobody named is named by its place: the same on every node.
    assert_eq!(seen.ids()[0], seen.offsets()[0].to_string());
}

#[test]
fn a_database_that_is_not_there_is_told_and_waited_for() {
    let mut server = Postgres::start(&[]);
    server.kill();
    let config = PostgresConfig {
        publish_wait_max: Duration::from_millis(100),
        buffer_events_max: 3,
        ..config(&server)
    };
    let begun = Instant::now();
    let (bus, seen) = start(config);
    assert!(begun.elapsed() < Duration::from_secs(1));
    until("it is told", || bus.health().error.is_some());
    assert!(!bus.health().connected);
    let error = bus.publish(&event("0")).unwrap_err();
    assert!(error.transient && !error.unknown && error.reason.contains("it was not published"), "{error}");
    for document in ["1", "2"] {
        bus.enqueue(&event(document)).unwrap();
    }
    let error = bus.enqueue(&event("3")).unwrap_err();
    assert!(error.transient && !error.unknown && error.reason.contains("buffer is full"), "{error}");
    server.restart();
    // What was given up is not published after all.
    assert_eq!(seen.wait_for(2), ["1", "2"]);
    until("it is told", || bus.health().connected);
    bus.publish(&event("4")).unwrap();
    assert_eq!(seen.wait_for(3)[2], "4");
}

#[test]
fn a_publisher_that_waits_is_let_go_at_the_close() {
    let server = Postgres::start(&[]);
    let (bus, _) = connected(PostgresConfig {
        answer_max: Duration::from_secs(600),
        publish_wait_max: Duration::from_secs(60),
        ..config(&server)
    });
    server.sql(
        "create function sleep() returns trigger language plpgsql as $$ begin
            perform pg_sleep(3600); return null;
        end $$;
        create trigger sleep after insert on coulis.outbox for each row execute function sleep()",
    );
    let error = thread::scope(|scope| {
        let publisher = scope.spawn(|| bus.publish(&event("1")).unwrap_err());
        until("it is under way", || {
            server.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "1"
        });
        bus.close(Duration::from_millis(10));
        assert!(holds_within(Duration::from_secs(5), || publisher.is_finished()), "it waits on");
        publisher.join().unwrap()
    });
    assert!(error.unknown && !error.transient && error.reason.contains("the bus was closed"), "{error:?}");
}

#[test]
fn what_is_buffered_at_the_close_is_counted() {
    let unreachable = format!("postgres://nobody@127.0.0.1:{}/none", free_port());
    let (bus, _) = start(PostgresConfig::new(&unreachable));
    for document in ["1", "2", "3"] {
        bus.enqueue(&event(document)).unwrap();
    }
    assert_eq!(bus.health().refused, 0);
    bus.close(Duration::ZERO);
    until("they are counted", || bus.health().refused == 3);
}

#[test]
fn the_buffer_is_bounded_in_bytes_and_one_event_always_fits() {
    let unreachable = format!("postgres://nobody@127.0.0.1:{}/none", free_port());
    let (bus, _) = start(PostgresConfig { buffer_bytes_max: 1, ..PostgresConfig::new(&unreachable) });
    bus.enqueue(&event("1")).unwrap();
    let error = bus.enqueue(&event("2")).unwrap_err();
    assert!(error.reason.contains("buffer is full"), "{error}");
    assert_eq!(bus.health().buffered, 1);
}

#[test]
fn more_events_than_the_buffer_holds_are_published_in_their_order() {
    let server = Postgres::start(&[]);
    let (bus, seen) =
        connected(PostgresConfig { buffer_events_max: 10, batch_events_max: 4, ..config(&server) });
    let events: Vec<_> = (0..200).map(|number| event(&number.to_string())).collect();
    assert!(bus.publish_many(&events).iter().all(Result::is_ok));
    assert_eq!(seen.wait_for(200), (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
    // The server is given up, and the publisher waits no longer than it was told.
    server.stop();
    let begun = Instant::now();
    let results = bus.publish_many(&events[..20]);
    assert!(results.iter().all(Result::is_err) && results.len() == 20);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    server.go_on();
}

#[test]
fn settings_that_can_never_work_are_refused_at_once() {
    let refused = |config: PostgresConfig| -> BusError {
        let sink = Box::new(crate::support::Seen::default());
        coulis_adapters::postgres::PostgresBus::start(config, Limits::default(), sink).unwrap_err()
    };
    for (config, part) in [
        (PostgresConfig::new("nonsense"), "connection string"),
        (PostgresConfig { schema: "A".into(), ..PostgresConfig::new("host=h") }, "`A`"),
        (PostgresConfig { tls_ca: Some(b"nonsense".to_vec()), ..PostgresConfig::new("host=h") }, "tls_ca"),
        (
            PostgresConfig { publish_wait_max: Duration::MAX, ..PostgresConfig::new("host=h") },
            "`publish_wait_max`",
        ),
        (
            PostgresConfig { reader_connection_string: Some("x".into()), ..PostgresConfig::new("host=h") },
            "connection",
        ),
    ] {
        let error = refused(config);
        assert!(error.reason.contains(part) && !error.transient, "{error}");
    }
}

#[test]
fn closing_sends_what_waits_and_leaves_at_once() {
    let server = Postgres::start(&[]);
    let (bus, _) = connected(PostgresConfig { history_events_max: 0, ..config(&server) });
    for number in 0..1_000 {
        bus.enqueue(&event(&number.to_string())).unwrap();
    }
    let begun = Instant::now();
    close(&bus, &server);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(server.sql("select count(*) from coulis.outbox"), "1000");
    assert!(bus.publish(&event("1")).unwrap_err().reason.contains("closed"));
    assert!(holds_within(Duration::from_secs(1), || bus.health().buffered == 0));
    bus.close(Duration::MAX);
}
