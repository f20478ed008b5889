//! Changes of tables as events.

use coulis_tests::servers::postgres::Postgres;

use crate::support::{config, connected};

const TABLE: &str =
    "create table orders (id int primary key, tenant text, owner text, room text, note text);";

#[test]
fn every_change_of_a_row_is_an_event_with_both_images() {
    let server = Postgres::start(&[]);
    let (_bus, seen) = connected(config(&server));
    server.sql(&format!(
        "{TABLE} select coulis_watch('orders', 'orders', columns => array['id', 'note'],
        tenant_column => 'tenant', user_column => 'owner')"
    ));
    server.sql("insert into orders values (1, 'a', 'u', 'r', 'x'), (2, null, null, 'r', 'y')");
    server.sql("update orders set note = 'z' where id = 1");
    // Nothing of what is told has changed.
    server.sql("update orders set room = 's'");
    server.sql("begin; update orders set note = 'never'; rollback");
    server.sql("update orders set tenant = 'b' where id = 1");
    server.sql("delete from orders where id = 1");
    server.sql("truncate orders");
    server.sql("select coulis_unwatch('orders'); insert into orders values (3, null, null, null, null)");
    server.sql("select coulis_publish('c', 't', '0')");
    seen.wait_for(8);
    assert_eq!(
        seen.lines(),
        [
            r#"inserted orders {"id":1,"note":"x"} - a u"#,
            r#"inserted orders {"id":2,"note":"y"} - - -"#,
            r#"updated orders {"id":1,"note":"z"} {"id":1,"note":"x"} a u"#,
            r#"deleted orders null {"id":1,"note":"z"} a u"#,
            r#"inserted orders {"id":1,"note":"z"} - b u"#,
            r#"deleted orders null {"id":1,"note":"z"} b u"#,
            r#"truncated orders {"table" : "public.orders"} - - -"#,
            "t c 0 - - -",
        ]
    );
}

#[test]
fn a_column_may_say_the_channel() {
    let server = Postgres::start(&[]);
    let (_bus, seen) = connected(config(&server));
    server.sql(&format!(
        "{TABLE} select coulis_watch('orders', 'room', columns => array['id'],
        channel_column => 'room', updated => 'changed')"
    ));
    server.sql("insert into orders (id, room) values (1, 'r'), (2, null)");
    server.sql("update orders set room = 's' where id = 1");
    seen.wait_for(4);
    assert_eq!(
        seen.lines(),
        [
            r#"inserted room:r {"id":1} - - -"#,
            r#"inserted room {"id":2} - - -"#,
            r#"deleted room:r null {"id":1} - -"#,
            r#"inserted room:s {"id":1} - - -"#,
        ]
    );
}

/// The value of a column that is not there any more is no `null`: a tenant's row would go to all.
#[test]
fn a_watched_column_that_is_renamed_or_dropped_is_told_and_nothing_is_published() {
    let server = Postgres::start(&[]);
    let (_bus, seen) = connected(config(&server));
    server.sql(TABLE);
    server.sql("insert into orders values (1, 'a', 'u', 'r', 'x')");
    let mut client = crate::support::session(&server);
    let watches = [
        ("tenant", "tenant_column => 'tenant'", "tenant_column => 'tenant_now'"),
        ("owner", "user_column => 'owner'", "user_column => 'owner_now'"),
        ("room", "channel_column => 'room'", "channel_column => 'room_now'"),
        ("note", "columns => array['id', 'note']", "columns => array['id', 'note_now']"),
    ];
    let mut refused = |column: &str| {
        for change in ["insert into orders (id) values (2)", "update orders set id = 3", "delete from orders"]
        {
            let error = client.batch_execute(change).unwrap_err();
            let told = error.as_db_error().unwrap();
            assert_eq!(told.code().code(), "42703");
            let part = format!("`public.orders` is watched and has no column `{column}`");
            assert!(told.message().contains(&part), "{change}: {told}");
            assert!(told.hint().is_some_and(|hint| hint.contains("watch it again")), "{told:?}");
        }
    };
    for (column, before, after) in watches {
        server.sql(&format!("select coulis_watch('orders', 'c', {before})"));
        server.sql(&format!("alter table orders rename {column} to {column}_now"));
        refused(column);
        server.sql(&format!("select coulis_watch('orders', 'c', {after})"));
        server.sql("update orders set id = 2; update orders set id = 1");
        server.sql(&format!("alter table orders drop {column}_now"));
        refused(&format!("{column}_now"));
    }
    server.sql("select coulis_watch('orders', 'c'); update orders set id = 2");
    assert_eq!(seen.wait_for(2 * watches.len() + 1)[8], r#"{"id":2}"#);
    assert!(seen.lines()[0].ends_with(" a -"), "{:?}", seen.lines());
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let server = Postgres::start(&[]);
    let (_bus, _seen) = connected(config(&server));
    server.sql(TABLE);
    let mut client = crate::support::session(&server);
    for (options, part) in [
        ("'orders', ''", "cannot be empty"),
        ("'orders', 'c', columns => array['id', 'colour']", "has no column `colour`"),
        ("'orders', 'c', tenant_column => 'who'", "has no column `who`"),
        ("'nothing', 'c'", "does not exist"),
    ] {
        let error = client.batch_execute(&format!("select coulis_watch({options})")).unwrap_err();
        let message = error.as_db_error().unwrap().message();
        assert!(message.contains(part), "{message}");
    }
}
