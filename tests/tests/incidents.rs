//! What leaked elsewhere, in public: each cause as a test of ours.

use std::sync::Arc;

use coulis::{
    engine::{Engine, SubscribeError, SubscribeRequest},
    event::Event,
    id::Identity,
    limits::Limits,
    protocol::{Action, Machine},
    security::{
        ChannelRules, SecurityContext,
        access::{Access, Otherwise, Rule},
    },
    subscriber::Subscriber,
};
use coulis_tests::{Kept, build, engine, event, event_for, publish, read, reader, request, request_for};

const QUERY: &str = "subscription { x { n } }";

fn guarded(policy: &str) -> ChannelRules {
    ChannelRules { policy: Some(policy.into()), ..ChannelRules::default() }
}

fn cursor(reader: &mut Subscriber) -> String {
    let told = read(reader).remove(0);
    let cursor = told.split("cursor\":\"").nth(1).and_then(|rest| rest.split('"').next());
    cursor.expect("a cursor").to_owned()
}

/// Parse Server, CVE-2026-30947: the live way never asked the permissions that the other ways asked.
#[test]
fn every_way_to_a_reader_asks_the_same_policy() {
    let engine = build(Engine::builder().shards(1).channel("x", guarded("event.level == ctx.user_id")));
    let resolver = Kept::asynchronous();
    let asking =
        |id: &str| SubscribeRequest { resume: Some(String::new()), ..request_for(id, QUERY, "", "low") };
    let mut live = reader(&engine, [asking("live")]);
    let start = cursor(&mut live);
    let resolved =
        SubscribeRequest { resolver: Some(resolver.clone()), ..request_for("resolved", QUERY, "", "low") };
    let mut resolved = reader(&engine, [resolved]);
    publish(&engine, event("x", r#"{"n":"canary","level":"high"}"#));
    publish(&engine, event("x", r#"{"n":1,"level":"low"}"#));
    let mut replayed = reader(&engine, [SubscribeRequest { resume: Some(start), ..asking("replayed") }]);
    resolver.next().expect("one job").answer(Ok(br#"{"n":1}"#.to_vec()));
    assert!(resolver.next().is_none(), "what is hidden is not even resolved");
    for reader in [&mut live, &mut resolved, &mut replayed] {
        let got = read(reader).join("\n");
        assert!(got.contains(r#"{"n":1}"#) && !got.contains("canary"), "{got}");
    }
}

/// Parse Server, CVE-2026-33421: rights that an object carries itself were not asked: everybody got it.
#[test]
fn rights_that_stand_in_the_event_are_asked() {
    let engine = build(Engine::builder().shards(2).channel("x", guarded("ctx.user_id in event.readers")));
    let mut reader = reader(&engine, [request_for("u", QUERY, "", "u"), request_for("v", QUERY, "", "v")]);
    for document in [
        r#"{"n":1,"readers":["u","w"]}"#,
        r#"{"n":2,"readers":[]}"#,
        r#"{"n":3}"#,
        r#"{"n":4,"readers":"u"}"#,
        r#"{"n":5,"readers":{"u":true}}"#,
    ] {
        publish(&engine, event("x", document));
    }
    // A map has its keys; a text is no list of readers.
    assert_eq!(read(&mut reader), [r#"u {"data":{"x":{"n":1}}}"#, r#"u {"data":{"x":{"n":5}}}"#]);
}

/// Parse Server, CVE-2026-31872: a field that nobody may read was read by filtering on it.
#[test]
fn a_hidden_field_is_no_oracle_for_filters() {
    let rule = Rule::at("x.secret").any_role(["admin"]).otherwise(Otherwise::Mask);
    let engine = build(Engine::builder().shards(1).access(Access::new().rule(rule)));
    let mut subscriber = reader(&engine, []);
    for filter in ["event.secret.startsWith('a')", "event.n == 1 || event.secret.deep == 2", "'x' in event"] {
        let request = SubscribeRequest { filters: vec![filter.into()], ..request("a", QUERY) };
        let refused = engine.subscribe(&mut subscriber, request);
        assert!(matches!(refused, Err(SubscribeError::Forbidden { .. })), "{filter}: {refused:?}");
    }
}

/// Supabase Realtime: deletions were not held against the policies, and the old record went to everybody.
#[test]
fn a_deletion_is_judged_on_the_row_that_is_gone() {
    let engine = engine(2);
    let mut reader = reader(&engine, [request_for("t", QUERY, "t", ""), request_for("s", QUERY, "s", "")]);
    let gone =
        |before: &str| event("x", "null").with_before(before.into(), &Limits::default()).expect("an event");
    publish(&engine, gone(r#"{"n":"canary","tenant_id":"t"}"#));
    publish(&engine, event("x", "null"));
    let got = read(&mut reader);
    assert!(got.len() == 1 && got[0].starts_with("t ") && got[0].contains("tombstone"), "{got:?}");
}

/// Strawberry, CVE-2026-35526: an operation was started before the connection had said who it is.
#[test]
fn nothing_is_subscribed_before_the_connection_is_let_in() {
    let mut machine = Machine::new(&Limits::default());
    let subscribe = r#"{"type":"subscribe","id":"a","payload":{"query":"subscription { x }"}}"#;
    let Action::Close(close) = machine.receive(subscribe) else { panic!("it is served") };
    assert_eq!(close.code(), 4401);
    // The older protocol's word for it is no message at all.
    let mut machine = Machine::new(&Limits::default());
    let Action::Close(close) = machine.receive(r#"{"type":"start","id":"a","payload":{}}"#) else {
        panic!("it is served")
    };
    assert_eq!(close.code(), 4400);
}

/// Strawberry, CVE-2026-35523: a connection could have as many subscriptions as it liked.
#[test]
fn a_connection_has_a_hundred_subscriptions_at_most() {
    let engine = engine(1);
    let mut reader = reader(&engine, (0..100).map(|number| request(&number.to_string(), QUERY)));
    assert!(matches!(engine.subscribe(&mut reader, request("more", QUERY)), Err(SubscribeError::Limit(_))));
}

/// MURAL: an optimisation made a multicast a broadcast. A canary for each tenant, among readers that share all else.
#[test]
fn what_is_shared_stays_within_its_tenant() {
    for shards in [1, 4] {
        let engine = engine(shards);
        let mut readers: Vec<_> = (0..40)
            .map(|number| {
                (number % 8, reader(&engine, [request_for("a", QUERY, &(number % 8).to_string(), "")]))
            })
            .collect();
        for tenant in 0..8 {
            publish(
                &engine,
                event_for("x", &format!(r#"{{"n":"canary-{tenant}"}}"#), &tenant.to_string(), ""),
            );
        }
        for (tenant, reader) in &mut readers {
            assert_eq!(read(reader), [format!(r#"a {{"data":{{"x":{{"n":"canary-{tenant}"}}}}}}"#)]);
        }
    }
}

/// A cache whose key did not tell users apart showed one user's data to another: a body is shared by equals only.
#[test]
fn a_body_is_shared_only_by_who_gets_the_same() {
    let rule = Rule::at("x.secret").any_role(["admin"]).otherwise(Otherwise::Mask);
    let engine = build(Engine::builder().shards(1).access(Access::new().rule(rule)));
    let asking = |id: &str, role: &str, query: &str| SubscribeRequest {
        context: SecurityContext { roles: [Box::from(role)].into(), ..SecurityContext::default() },
        ..request(id, query)
    };
    let query = "subscription { x { secret } }";
    let aliased = "subscription { x { s: secret } }";
    let asked = [
        asking("a", "admin", query),
        asking("b", "guest", query),
        asking("c", "admin", query),
        asking("d", "guest", aliased),
    ];
    let mut reader = reader(&engine, asked);
    publish(&engine, event("x", r#"{"secret":1}"#));
    let mut got = read(&mut reader);
    got.sort_unstable();
    let body = |id: &str, key: &str, value: &str| format!(r#"{id} {{"data":{{"x":{{"{key}":{value}}}}}}}"#);
    assert_eq!(
        got,
        [
            body("a", "secret", "1"),
            body("b", "secret", "null"),
            body("c", "secret", "1"),
            body("d", "s", "null")
        ]
    );
    assert_eq!(engine.metrics().rendered, 3, "the two who may read it share a body");
}

/// An identity comes from the server's side: what a publisher says outranks what a document says.
#[test]
fn a_document_does_not_say_whose_it_is_where_the_publisher_does() {
    let engine = engine(1);
    let mut reader = reader(&engine, [request_for("t", QUERY, "t", ""), request_for("s", QUERY, "s", "")]);
    let forged =
        Event::new("e", "x", br#"{"n":1,"tenant_id":"s"}"#.to_vec(), &Limits::default()).expect("an event");
    publish(&engine, forged.with_tenant(Identity::new("t")));
    assert_eq!(read(&mut reader), [r#"t {"data":{"x":{"n":1}}}"#]);
}

/// A resolver that fails showed the event itself.
#[test]
fn a_failed_resolver_shows_nothing_of_the_event() {
    let engine = engine(1);
    let resolver = Kept::asynchronous();
    let asked = SubscribeRequest { resolver: Some(Arc::clone(&resolver) as _), ..request("a", QUERY) };
    let mut reader = reader(&engine, [asked]);
    publish(&engine, event("x", r#"{"n":"canary"}"#));
    resolver.next().expect("a job").answer(Err("it failed".into()));
    let got = read(&mut reader);
    assert!(got[0].contains(r#""data":null,"errors""#) && !got[0].contains("canary"), "{got:?}");
}
