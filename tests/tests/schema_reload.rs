//! A schema that is replaced while subscriptions live: what goes on, what ends, what is told.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use coulis::{
    engine::{Engine, EngineBuilder, SubscribeError, SubscribeRequest},
    event::Event,
    plan::Schema,
    security::{
        SecurityContext,
        access::{Access, Rule},
    },
    value::Value,
};
use coulis_tests::{Kept, build, event, publish, read, reader, request};

const QUERY: &str = "subscription { x { n } }";

fn schema(subscription: &str) -> Schema {
    let sdl = format!("type Query {{ q: Int }} {subscription}");
    Schema::parse(&sdl).expect("a schema")
}

fn old() -> Schema {
    schema("type Subscription { x(least: Int = 1): X } type X { n: Int m: Int }")
}

/// On one shard and on four, where events and readers are on different ones.
fn on_shards(builder: impl Fn() -> EngineBuilder, test: impl Fn(Engine)) {
    for shards in [1, 4] {
        test(build(builder().shards(shards).schema(Some(old()))));
    }
}

fn number(n: u32) -> Event {
    event("x", &format!(r#"{{"n":{n},"m":{n}}}"#))
}

fn values(text: &str) -> Value {
    Value::parse(&mut text.as_bytes().to_vec(), 32).expect("JSON")
}

fn code(line: &str) -> Option<&str> {
    Some(line.split_once(r#""code":""#)?.1.split('"').next().unwrap_or_default())
}

#[test]
fn what_is_still_valid_goes_on_without_a_gap_and_what_is_not_ends() {
    on_shards(Engine::builder, |engine| {
        let both = "subscription { x { n m } }";
        let mut reader = reader(&engine, [request("a", QUERY), request("b", QUERY), request("c", both)]);
        publish(&engine, number(1));
        let new = schema("type Subscription { x(least: Int = 1): X y: X } type X { n: Int k: Int }");
        assert_eq!(engine.reload_schema(Some(new)), Ok(1));
        let rendered = engine.metrics().rendered;
        publish(&engine, number(2));
        assert_eq!(engine.metrics().rendered, rendered + 1, "those that are alike still share a body");
        let lines = read(&mut reader);
        let of = |id: &str| lines.iter().filter(|line| line.starts_with(id)).cloned().collect::<Vec<_>>();
        let both = |id: &str| [1, 2].map(|n| format!(r#"{id} {{"data":{{"x":{{"n":{n}}}}}}}"#));
        assert_eq!((of("a"), of("b")), (both("a").to_vec(), both("b").to_vec()));
        assert_eq!(of("c").len(), 1, "{lines:?}");
        assert_eq!(code(&of("c")[0]), Some("SCHEMA_CHANGED"));
        assert!(of("c")[0].contains("the schema has changed: "), "{lines:?}");
        assert_eq!((engine.metrics().subscriptions, engine.metrics().pending()), (2, 0));
    });
}

#[test]
fn new_documents_are_held_against_the_new_schema_only() {
    on_shards(Engine::builder, |engine| {
        let (mut reader, only_new) = (reader(&engine, []), "subscription { x { k } }");
        assert!(engine.subscribe(&mut reader, request("a", "subscription { x { m } }")).is_ok());
        let refused = engine.subscribe(&mut reader, request("b", only_new));
        assert!(matches!(refused, Err(SubscribeError::InvalidQuery(_))), "{refused:?}");
        let new = schema("type Subscription { x: X } type X { n: Int k: Int }");
        assert_eq!(engine.reload_schema(Some(new)), Ok(1));
        // A plan that was made for the old one is forgotten.
        let refused = engine.subscribe(&mut reader, request("c", "subscription { x { m } }"));
        assert!(matches!(refused, Err(SubscribeError::InvalidQuery(_))), "{refused:?}");
        assert!(engine.subscribe(&mut reader, request("d", only_new)).is_ok());
        // Without a schema, everything is a document.
        assert_eq!(engine.reload_schema(None), Ok(0));
        assert!(engine.subscribe(&mut reader, request("e", "subscription { z { zz } }")).is_ok());
    });
}

#[test]
fn what_a_document_means_now_holds_from_the_next_event_on() {
    on_shards(Engine::builder, |engine| {
        let asked =
            SubscribeRequest { policies: vec!["event.n >= args.least".into()], ..request("a", QUERY) };
        let mut reader = reader(&engine, [asked]);
        publish(&engine, number(1));
        let new = "type Subscription { x(least: Int = 5): X } type X { n: Int m: Int }";
        assert_eq!(engine.reload_schema(Some(schema(new))), Ok(0));
        publish(&engine, number(4));
        publish(&engine, number(5));
        let result = |n: u32| format!(r#"a {{"data":{{"x":{{"n":{n}}}}}}}"#);
        assert_eq!(read(&mut reader), [result(1), result(5)]);
    });
}

#[test]
fn variables_are_held_against_their_new_types() {
    let with = |values: &str| {
        schema(&format!("enum E {{ {values} }} type Subscription {{ x(e: E): X }} type X {{ n: Int }}"))
    };
    for shards in [1, 4] {
        let engine = build(Engine::builder().shards(shards).schema(Some(with("A B"))));
        let asked = |id: &str, e: &str| SubscribeRequest {
            query: "subscription($e: E) { x(e: $e) { n } }".into(),
            variables: values(&format!(r#"{{"e":"{e}"}}"#)),
            ..request(id, QUERY)
        };
        let mut reader = reader(&engine, [asked("a", "A"), asked("b", "B")]);
        assert_eq!(engine.reload_schema(Some(with("A C"))), Ok(1));
        publish(&engine, number(1));
        let lines = read(&mut reader);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines.iter().find_map(|line| code(line)), Some("SCHEMA_CHANGED"));
        assert!(reader.has("a") && !reader.has("b"));
    }
}

#[test]
fn a_resolver_gets_the_variables_of_the_new_schema() {
    let with = |default: u32| {
        schema(&format!(
            "input I {{ k: Int = {default} }} type Subscription {{ x(i: I): X }} type X {{ n: Int }}"
        ))
    };
    let engine = build(Engine::builder().shards(1).schema(Some(with(1))));
    let kept = Kept::asynchronous();
    let query = "subscription($i: I, $j: Int = 3) { x(i: $i) { n @skip(if: false) } y: x(i: {k: $j}) { n } }";
    assert!(engine.plan(query, &coulis::plan::OperationName::Only).is_err(), "one root field only");
    let asked = SubscribeRequest {
        query: "subscription($i: I = {}) { x(i: $i) { n } }".into(),
        resolver: Some(kept.clone()),
        ..request("a", QUERY)
    };
    let mut reader = reader(&engine, [asked]);
    publish(&engine, number(1));
    assert_eq!(kept.next().expect("a job").variables(), &values(r#"{"i":{"k":1}}"#));
    // What was bound stays; a field that is gone cannot.
    assert_eq!(engine.reload_schema(Some(with(2))), Ok(0));
    publish(&engine, number(2));
    assert_eq!(kept.next().expect("a job").variables(), &values(r#"{"i":{"k":1}}"#));
    let without = schema("input I { l: Int } type Subscription { x(i: I): X } type X { n: Int }");
    assert_eq!(engine.reload_schema(Some(without)), Ok(1));
    assert_eq!(
        read(&mut reader).iter().filter_map(|line| code(line)).collect::<Vec<_>>(),
        ["SCHEMA_CHANGED"]
    );
}

#[test]
fn rules_of_fields_are_about_the_types_of_the_new_schema() {
    let guarded = || {
        let rule = Rule::at_type("Secret.n").any_role(["admin"]);
        Engine::builder().access(Access::new().rule(rule))
    };
    let with = |ty: &str| {
        schema(&format!("type Subscription {{ x: {ty} }} type X {{ n: Int }} type Secret {{ n: Int }}"))
    };
    for shards in [1, 4] {
        let engine = build(guarded().shards(shards).schema(Some(with("X"))));
        let admin = SecurityContext { roles: ["admin".into()].into(), ..SecurityContext::default() };
        let may = SubscribeRequest { context: admin, ..request("may", QUERY) };
        let mut reader = reader(&engine, [may, request("may_not", QUERY)]);
        assert_eq!(engine.reload_schema(Some(with("Secret"))), Ok(1));
        publish(&engine, number(1));
        let lines = read(&mut reader);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().any(|line| line == r#"may {"data":{"x":{"n":1}}}"#), "{lines:?}");
        assert_eq!(lines.iter().find_map(|line| code(line)), Some("FORBIDDEN_FIELD"));
        // A schema that the rules are not about leaves all as it was.
        assert!(engine.reload_schema(Some(old())).is_err());
        assert!(engine.reload_schema(None).is_err());
        publish(&engine, number(2));
        assert_eq!(read(&mut reader), [r#"may {"data":{"x":{"n":2}}}"#]);
        assert!(engine.subscribe(&mut reader, request("m", "subscription { x { m } }")).is_err());
    }
}

#[test]
fn filters_are_about_what_may_be_read_now() {
    let guarded = || Engine::builder().access(Access::new().rule(Rule::at("x.m").any_role(["admin"])));
    on_shards(guarded, |engine| {
        let context = |roles: &[&str]| SecurityContext {
            roles: roles.iter().map(|role| Box::from(*role)).collect(),
            ..SecurityContext::default()
        };
        let asked = SubscribeRequest {
            filters: vec!["event.m == 1".into()],
            context: context(&["admin"]),
            ..request("a", QUERY)
        };
        let mut reader = reader(&engine, [asked]);
        publish(&engine, number(1));
        assert_eq!(reader.refresh(context(&["admin", "more"])), 0);
        assert_eq!(reader.refresh(context(&[])), 1);
        publish(&engine, number(1));
        let lines = read(&mut reader);
        assert_eq!(lines.iter().filter_map(|line| code(line)).collect::<Vec<_>>(), ["FORBIDDEN_FIELD"]);
    });
}

/// A registration races with a reload, again and again: afterwards it was refused, or it ends.
#[test]
fn no_registration_slips_through_a_reload() {
    let without = schema("type Subscription { x: X } type X { k: Int }");
    for shards in [1, 4] {
        let engine = build(Engine::builder().shards(shards).schema(Some(old())));
        let (mut refused, mut ended) = (0, 0);
        for round in 0..1_000 {
            engine.reload_schema(Some(old())).expect("no rules");
            let mut reader = reader(&engine, []);
            let started = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !started.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    }
                    (0..round % 300).for_each(|_| std::hint::spin_loop());
                    engine.reload_schema(Some(without.clone())).expect("no rules");
                });
                started.store(true, Ordering::Release);
                refused += u32::from(
                    engine.subscribe(&mut reader, request("a", "subscription { x { m } }")).is_err(),
                );
            });
            ended += u32::from(reader.has("a"));
            reader.drain(usize::MAX, |_| {});
            assert!(!reader.has("a"), "a document of the old schema lives, round {round}");
        }
        assert!(refused + ended == 1_000, "{refused} {ended}");
    }
}
