//! Installing, rights, partitions, retention, and histories that are not what they were.

use std::{thread, time::Duration};

use coulis::bus::Bus as _;
use coulis_adapters::{
    feed::Missed,
    postgres::{PostgresConfig, VERSION, install, migrations},
};
use coulis_tests::servers::{postgres::Postgres, until};

use crate::support::{Seen, config, connected, event, session, start, start_for};

#[test]
fn many_install_at_once_and_a_newer_schema_is_refused() {
    let server = Postgres::start(&[]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| install(&config(&server)).unwrap());
        }
    });
    // As a script of any client's, again.
    server.sql(&migrations("coulis").unwrap());
    assert_eq!(server.sql("select max(version) from coulis.migrations"), VERSION.to_string());
    // Another schema is another bus.
    let (bus, seen) = connected(PostgresConfig { schema: "other".into(), ..config(&server) });
    server.sql("select coulis_publish('c', 't', '1'); select other.publish('c', 't', '2')");
    assert_eq!(seen.wait_for(1), ["2"]);
    drop(bus);
    server.sql("insert into coulis.migrations values (999)");
    let error = install(&config(&server)).unwrap_err();
    assert!(error.reason.contains("`999`") && error.reason.contains("update this program"), "{error}");
    let (bus, _) = start(config(&server));
    until("it is told", || bus.health().error.is_some_and(|error| error.contains("update this program")));
    assert!(!bus.health().connected);
    let (bus, _) = start(PostgresConfig { schema: "nothing".into(), migrate: false, ..config(&server) });
    until("it is told", || bus.health().error.is_some_and(|error| error.contains("version `0`")));
}

/// A database may hand out other snapshots by default, which are older than the lock that was waited for.
#[test]
fn another_default_of_isolation_stands_in_the_way_of_nothing() {
    let server = Postgres::start(&[]);
    server.sql("alter database postgres set default_transaction_isolation = 'repeatable read'");
    let mut held = session(&server);
    let lock = "select pg_advisory_lock(hashtextextended('coulis.migrations', 0))";
    held.batch_execute(lock).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| install(&config(&server)).unwrap());
        }
        until("both wait", || {
            server.sql("select count(*) from pg_locks where locktype = 'advisory' and not granted") == "2"
        });
        held.batch_execute(&lock.replace("_lock(", "_unlock(")).unwrap();
    });
    server.sql(
        "create table looked as select ''::text as isolation limit 0;
        create function look() returns trigger language plpgsql as $$ begin
            insert into public.looked values (current_setting('transaction_isolation'));
            return null;
        end $$;
        create trigger look before delete on coulis.seen for each statement execute function look()",
    );
    let (bus, seen) =
        connected(PostgresConfig { maintain_every: Duration::from_millis(10), ..config(&server) });
    until("the bus keeps up", || !server.sql("select * from looked limit 1").is_empty());
    assert_eq!(server.sql("select distinct isolation from looked"), "read committed");
    bus.publish(&event("1")).unwrap();
    assert_eq!(seen.wait_for(1), ["1"]);
}

#[test]
fn roles_have_the_rights_that_they_need_and_no_others() {
    let server = Postgres::start(&[]);
    server.sql(
        "create role owner login; create role publisher login; create role node login; create role clerk login;
        grant create on database postgres to owner",
    );
    let of = |role: &str| PostgresConfig { migrate: false, ..PostgresConfig::new(server.url_of(role)) };
    install(&of("owner")).unwrap();
    let mut owner = postgres::Client::connect(&server.url_of("owner"), postgres::NoTls).unwrap();
    owner.batch_execute("select coulis.grant_publisher('publisher'), coulis.grant_bus('node')").unwrap();
    owner
        .batch_execute(
            "create schema shop; create table shop.orders (id int); grant usage on schema shop to clerk;
        grant insert on shop.orders to clerk; select coulis.watch('shop.orders', 'orders')",
        )
        .unwrap();
    let (bus, seen) = connected(PostgresConfig { retention: Some(Duration::from_secs(7_200)), ..of("node") });
    assert_eq!(server.sql("select retention from coulis.meta"), "02:00:00");
    bus.publish(&event("1")).unwrap();
    let mut publisher = postgres::Client::connect(&server.url_of("publisher"), postgres::NoTls).unwrap();
    publisher.batch_execute("select coulis.publish('c', 't', '2'::jsonb)").unwrap();
    let mut clerk = postgres::Client::connect(&server.url_of("clerk"), postgres::NoTls).unwrap();
    clerk.batch_execute("insert into shop.orders values (3)").unwrap();
    assert_eq!(seen.wait_for(3), ["1", "2", r#"{"id":3}"#]);
    let refusals = [
        ("publisher", "select * from coulis.outbox"),
        ("publisher", "select * from coulis.seen"),
        ("publisher", "insert into coulis.outbox select * from coulis.outbox"),
        ("publisher", "select coulis.maintain()"),
        ("publisher", "select coulis.take_positions(1)"),
        ("publisher", "select coulis.renew(1)"),
        ("publisher", "select coulis.grant_publisher('clerk')"),
        ("publisher", "select coulis.watch('shop.orders', 'c')"),
        ("publisher", "select nextval('coulis.armed')"),
        ("node", "delete from coulis.outbox"),
        ("node", "update coulis.meta set epoch = 1"),
        ("node", "select coulis.drop_partition('x')"),
        ("clerk", "select coulis.publish('c', 't', '1')"),
    ];
    for (role, sql) in refusals {
        let mut client = postgres::Client::connect(&server.url_of(role), postgres::NoTls).unwrap();
        let error = client.batch_execute(sql).unwrap_err();
        assert_eq!(
            error.code().map(postgres::error::SqlState::code),
            Some("42501"),
            "{role}: {sql}: {error:?}"
        );
    }
}

#[test]
fn tls_is_spoken_and_the_server_is_verified() {
    let server = Postgres::with_tls();
    let url =
        format!("host=localhost port={} user=postgres dbname=postgres sslmode=verify-full", server.port());
    let secure = PostgresConfig { tls_ca: Some(server.ca()), ..PostgresConfig::new(&url) };
    install(&secure).unwrap();
    let (bus, seen) = connected(secure);
    bus.publish(&event("1")).unwrap();
    seen.wait_for(1);
    let plain = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid)
        where application_name = 'coulis' and not ssl";
    assert_eq!(server.sql(plain), "0");
    // Another authority, the system's ones, and another name.
    let stranger = Postgres::with_tls();
    let renamed = url.replace("localhost", "127.0.0.1");
    for config in [
        PostgresConfig { tls_ca: Some(stranger.ca()), ..PostgresConfig::new(&url) },
        PostgresConfig::new(&url),
        PostgresConfig { tls_ca: Some(server.ca()), ..PostgresConfig::new(&renamed) },
    ] {
        let (bus, _) = start(config);
        until("it is told", || bus.health().error.is_some_and(|error| error.contains("certificate")));
        assert!(!bus.health().connected);
    }
}

/// Events that retention takes while the node is busy: before the page that it is about to read, and while that page
/// waits for the lock of the drop.
#[test]
fn events_that_retention_took_unread_are_told_as_missed() {
    for locked in [false, true] {
        let server = Postgres::start(&[]);
        let (bus, seen) = connected(PostgresConfig { batch_events_max: 1, ..config(&server) });
        bus.publish(&event("0")).unwrap();
        seen.wait_for(1);
        seen.shut();
        let part = server.sql("select min(name) from coulis.partitions");
        for number in 1..=5 {
            bus.publish(&event(&number.to_string())).unwrap();
        }
        until("the node is busy", || seen.is_waiting());
        let mut client = session(&server);
        let mut dropping = client.transaction().unwrap();
        dropping.batch_execute(&format!("select coulis.drop_partition('{part}')")).unwrap();
        if locked {
            seen.open();
            until("the reader waits for the lock", || {
                server.sql("select count(*) from pg_stat_activity where application_name = 'coulis' and wait_event_type = 'Lock'") == "1"
            });
        }
        dropping.commit().unwrap();
        seen.open();
        until("it is told", || seen.begins().len() == 2);
        bus.publish(&event("6")).unwrap();
        assert_eq!(seen.wait_for(3), ["0", "1", "6"]);
        let (position, missed) = seen.begins()[1];
        assert!(missed.is_some() && position.epoch == seen.begins()[0].0.epoch);
        assert_eq!(position.offset.to_string(), server.sql("select dropped_through from coulis.meta"));
        assert!(position.offset > seen.offsets()[1] && position.offset < seen.offsets()[2]);
        assert_eq!(bus.health().gaps, 1);
    }
}

#[test]
fn upkeep_makes_partitions_ahead_and_takes_what_is_old() {
    let server = Postgres::start(&[]);
    install(&config(&server)).unwrap();
    server.sql("select coulis.add_partition('2020-01-01', '2020-01-02'); select coulis_publish('c', 't', '9', id => 'kept')");
    server.sql(
        "insert into coulis.outbox (position, created_at, bytes, channel, event_type, data)
        values (5, '2020-01-01 12:00', 1, 'c', 't', '1'), (6, '2020-01-05', 1, 'c', 't', '2')",
    );
    server.sql("insert into coulis.seen values ('old', 5, '2020-01-01')");
    let maintain = "select coulis.maintain(); select dropped_through from coulis.meta";
    // Whoever holds a lock is not waited for long, and the next call does it.
    let mut client = session(&server);
    client.batch_execute("begin; select * from coulis.outbox").unwrap();
    server.sql("select coulis.maintain()");
    assert_eq!(server.sql("select count(*) from coulis.outbox where position = 5"), "1");
    client.batch_execute("commit").unwrap();
    assert!(server.sql(maintain).ends_with('6'));
    assert_eq!(server.sql("select string_agg(data::text, '') from coulis.outbox"), "9");
    assert_eq!(server.sql("select string_agg(id, '') from coulis.seen"), "kept");
    let ahead = "select max(upper) >= now() + interval '6 hours' from coulis.partitions";
    assert_eq!(server.sql(ahead), "t");
    // Where nobody kept up, rows lie in the partition for the rest, and are read like all others.
    server.sql("select coulis.drop_partition(name) from coulis.partitions");
    server.sql("select coulis_publish('c', 't', '10')");
    assert_eq!(server.sql("select string_agg(data::text, '') from coulis.outbox_rest"), "10");
    server.sql("select coulis.maintain()");
    let (bus, seen) =
        connected(PostgresConfig { maintain_every: Duration::from_millis(10), ..config(&server) });
    assert_eq!(seen.wait_for(1), ["10"]);
    // The bus keeps up by itself.
    until("there are partitions again", || server.sql(ahead) == "t");
    bus.publish(&event("11")).unwrap();
    seen.wait_for(2);
}

#[test]
fn upkeep_locks_nobody_out_while_it_deletes() {
    let server = Postgres::start(&[]);
    install(&config(&server)).unwrap();
    server.sql(
        "select coulis.add_partition('2020-01-01', '2020-01-02');
        create table locked as select false as held limit 0;
        create function look() returns trigger language plpgsql as $$ begin
            insert into public.locked select exists (select from pg_locks where pid = pg_backend_pid()
                and relation = 'coulis.outbox'::regclass and mode = 'AccessExclusiveLock');
            return null;
        end $$;
        create trigger look before delete on coulis.seen for each statement execute function look();
        create trigger look before delete on coulis.outbox_rest for each statement execute function look();
        select coulis.maintain()",
    );
    assert_eq!(server.sql("select held from locked"), "f\nf");
    assert_eq!(server.sql("select count(*) from coulis.partitions where name like '%2020%'"), "0");
}

#[test]
fn a_server_that_lost_its_newest_events_begins_another_epoch() {
    let mut server = Postgres::start(&[]);
    let (bus, seen) = connected(config(&server));
    let (other, twin) = connected(config(&server));
    bus.publish(&event("1")).unwrap();
    twin.wait_for(1);
    server.sql("checkpoint");
    server.kill();
    server.save();
    server.restart();
    until("it is back", || bus.health().connected);
    for number in 2..=4 {
        bus.publish(&event(&number.to_string())).unwrap();
    }
    seen.wait_for(4);
    twin.wait_for(4);
    server.kill();
    server.load();
    // Their numbers are given again, before anybody is there to see it.
    server.restart();
    server.sql("select coulis_publish('c', 't', '5')");
    until("it is back", || bus.health().connected && other.health().connected);
    bus.publish(&event("6")).unwrap();
    for seen in [&seen, &twin] {
        assert_eq!(seen.wait_for(6), ["1", "2", "3", "4", "5", "6"]);
        let begins = seen.begins();
        assert_eq!(begins.len(), 2, "{begins:?}");
        assert_ne!(begins[0].0.epoch, begins[1].0.epoch);
        assert!(begins[1].1.is_some());
        assert_eq!(begins[1].0.offset, seen.offsets()[0]);
    }
    assert_eq!(seen.begins()[1].0, twin.begins()[1].0, "two nodes begin two epochs");
}

#[test]
fn a_history_on_another_server_begins_another_epoch() {
    let server = Postgres::start(&[]);
    let (bus, seen) = connected(config(&server));
    bus.publish(&event("1")).unwrap();
    seen.wait_for(1);
    // As if a standby had become the primary.
    server.sql("update coulis.meta set origin = 'another'");
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'coulis'");
    until("another epoch", || seen.begins().len() == 2);
    let begins = seen.begins();
    assert_ne!(begins[0].0.epoch, begins[1].0.epoch);
    // What was read is there; whether there was more, nobody can tell.
    assert_eq!((begins[1].0.offset, begins[1].1), (seen.offsets()[0], Some(Missed { count: None })));
    // As if a dump had been loaded: its positions are beyond what this server will reach for long.
    server.sql("update coulis.outbox set position = position + (1::bigint << 50)");
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'coulis'");
    until("another epoch", || seen.begins().len() == 3);
    bus.publish(&event("2")).unwrap();
    assert_eq!(seen.wait_for(2), ["1", "2"]);
}

/// A node publishes on the restored server before a reader has looked at its history.
#[test]
fn what_was_published_after_a_restore_stays() {
    let server = Postgres::start(&[]);
    install(&config(&server)).unwrap();
    server.sql(
        "select coulis.check_history(); select coulis_publish('c', 't', '1'), coulis_publish('c', 't', '2')",
    );
    server.sql(
        "update coulis.outbox set position = position + (1::bigint << 50) where data::text = '1';
        update coulis.meta set dropped_through = 5",
    );
    let epoch = server.sql("select epoch from coulis.meta");
    server.sql("select coulis.check_history()");
    assert_eq!(server.sql("select data from coulis.outbox"), "2");
    assert_eq!(server.sql("select dropped_through from coulis.meta"), "0");
    let renewed = server.sql("select epoch from coulis.meta");
    assert_ne!(renewed, epoch);
    // There is nothing left to take away.
    server.sql("select coulis.check_history()");
    assert_eq!(server.sql("select epoch from coulis.meta"), renewed);
}

#[test]
fn another_epoch_waits_for_the_disk_and_a_look_does_not() {
    let server = Postgres::start(&[]);
    install(&config(&server)).unwrap();
    server.sql("select coulis.check_history()");
    let mut reader = session(&server);
    reader.batch_execute("set synchronous_commit = off").unwrap();
    for (change, call, commit) in [
        ("", "select coulis.check_history()", "off"),
        ("", "select coulis.renew(epoch) from coulis.meta", "on"),
        ("update coulis.meta set origin = 'another'", "select coulis.check_history()", "on"),
        ("update coulis.meta set dropped_through = 1::bigint << 60", "select coulis.check_history()", "on"),
    ] {
        server.sql(change);
        let mut transaction = reader.transaction().unwrap();
        transaction.batch_execute(call).unwrap();
        let waits: String = transaction.query_one("show synchronous_commit", &[]).unwrap().get(0);
        transaction.commit().unwrap();
        assert_eq!(waits, commit, "{change}: {call}");
    }
}

#[test]
fn a_dump_without_events_is_read_on_another_server() {
    let server = Postgres::start(&[]);
    install(&config(&server)).unwrap();
    // As if it had been made when retention had taken everything, far beyond what this server will reach for long.
    server.sql("update coulis.meta set origin = 'another', dropped_through = 1::bigint << 50");
    server.sql("select coulis_publish('c', 't', '1')");
    let (bus, seen) = connected(config(&server));
    bus.publish(&event("2")).unwrap();
    assert_eq!(seen.wait_for(2), ["1", "2"]);
    assert_eq!(seen.begins()[0].0.offset, 0);
}

#[test]
fn an_older_version_gets_the_functions_of_this_one_and_keeps_its_rights() {
    let server = Postgres::start(&[]);
    install(&config(&server)).unwrap();
    server.sql(
        "create role node login; select coulis.grant_bus('node'); delete from coulis.migrations where version > 1;
        create table watched (id int); select coulis_watch('watched', 'c');
        create or replace function coulis.disarm(bell bigint) returns void language plpgsql as $$
        begin raise 'an older one'; end $$;
        create or replace function coulis.tell_change() returns trigger language plpgsql as $$
        begin raise 'an older one'; end $$",
    );
    install(&config(&server)).unwrap();
    server.sql("select coulis.disarm(1); insert into watched values (1)");
    let may = "select has_function_privilege('node', 'coulis.disarm(bigint)', 'execute')";
    assert_eq!(server.sql(may), "t");
}

#[test]
fn a_database_without_the_schema_public_is_installed() {
    let server = Postgres::start(&[]);
    server.sql("drop schema public");
    install(&config(&server)).unwrap();
    let (_bus, seen) = connected(config(&server));
    server.sql("select coulis.publish('c', 't', '1')");
    assert_eq!(seen.wait_for(1), ["1"]);
}

/// What a new node begins with is another history before the node has read it, or is taken by retention: what is left
/// of it does not come as live, and who listened by then has missed nothing of what retention took.
#[test]
fn a_node_that_catches_up_is_ready_though_the_rest_of_the_history_is_lost() {
    let missed = Some(Missed { count: None });
    for (loss, missed) in [
        (
            "delete from coulis.outbox where data::text <> '1'; update coulis.meta set epoch = epoch + 1",
            missed,
        ),
        ("update coulis.meta set epoch = epoch + 1", missed),
        ("select coulis.drop_partition(min(name)) from coulis.partitions", None),
    ] {
        let server = Postgres::start(&[]);
        install(&config(&server)).unwrap();
        for number in 1..=3 {
            server.sql(&format!("select coulis_publish('c', 't', '{number}')"));
        }
        let seen = Seen::default();
        seen.shut();
        let bus = start_for(&seen, PostgresConfig { batch_events_max: 1, ..config(&server) });
        until("the node is busy", || seen.is_waiting());
        server.sql(loss);
        seen.open();
        until("it has caught up", || !seen.caught_up().is_empty());
        assert_eq!((seen.caught_up(), seen.data()), (vec![(2, 1)], vec!["1".to_owned()]), "{loss}");
        assert_eq!(seen.begins()[1].1, missed, "{loss}");
        bus.publish(&event("4")).unwrap();
        assert_eq!(seen.wait_for(2), ["1", "4"], "{loss}");
        assert_eq!(seen.begins().len(), 2);
    }
}
