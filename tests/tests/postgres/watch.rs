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
