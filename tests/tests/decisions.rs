//! Each mechanism's counters: what it allowed, denied, and had no answer to.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use coulis::{
    engine::{Engine, EngineBuilder, SubscribeRequest},
    metrics::{Module, Ruling, Rulings},
    plan::DocumentDigest,
    policy::standard::{Isolation, Tenancy},
    security::{
        ChannelRules, DeliveryRates, Pace, SecurityContext,
        access::{Access, Rule},
        rate::Rate,
    },
    value::Value,
};
use coulis_tests::{build, event, event_for, publish, read, reader, request, request_for};

const QUERY: &str = "subscription { x { n } }";

/// Registers each request, lets it be refused or not, and answers what `module` decided, on one shard and on four.
fn decided(
    module: Module,
    builder: impl Fn() -> EngineBuilder,
    requests: impl Fn() -> Vec<SubscribeRequest>,
    expected: [u64; 3],
) {
    for shards in [1, 4] {
        let engine = build(builder().shards(shards));
        let mut reader = reader(&engine, []);
        for request in requests() {
            _ = engine.subscribe(&mut reader, request);
        }
        assert_eq!(outcomes(&engine, module), expected, "{module:?}, {shards} shards");
    }
}

fn outcomes(engine: &Engine, module: Module) -> [u64; 3] {
    let Rulings { allowed, denied, errors } = engine.metrics().decided(module);
    [allowed, denied, errors]
}

fn rate(burst: u32) -> Option<Rate> {
    Some(Rate::new(1e-6, burst).expect("a rate"))
}

fn value(text: &str) -> Value {
    Value::parse(&mut text.as_bytes().to_vec(), 32).expect("JSON")
}

#[test]
fn documents_that_are_not_allowed_are_counted() {
    let allowing = || Engine::builder().allowed_operations([DocumentDigest::of(QUERY)]);
    let asked = || vec![request("a", QUERY), request("b", "subscription { y }"), request("c", "{")];
    decided(Module::AllowedOperations, allowing, asked, [1, 2, 0]);
    decided(Module::AllowedOperations, Engine::builder, asked, [0, 0, 0]);
    let asked =
        || vec![request("a", QUERY), request("b", "subscription { x { __type(name: \"X\") { name } } }")];
    decided(Module::Introspection, || Engine::builder().introspection(false), asked, [1, 1, 0]);
    decided(Module::Introspection, Engine::builder, asked, [0, 0, 0]);
}

#[test]
fn registrations_that_come_too_often_are_counted() {
    let asked = || vec![request("a", QUERY), request("b", QUERY), request("c", QUERY)];
    let pace = Pace { subscriber: rate(1), ..Pace::default() };
    decided(Module::Rates, || Engine::builder().pace(pace), asked, [1, 2, 0]);
    decided(Module::Rates, Engine::builder, asked, [0, 0, 0]);
}

#[test]
fn variables_and_fields_that_are_not_the_readers_are_counted() {
    let asked = || {
        let naming = |id: &str, user: &str| SubscribeRequest {
            variables: value(&format!(r#"{{"user_id":"{user}"}}"#)),
            ..request_for(id, "subscription($user_id: ID) { x(u: $user_id) { n } }", "t", "u")
        };
        vec![naming("a", "u"), naming("b", "v")]
    };
    decided(Module::Variables, Engine::builder, asked, [1, 1, 0]);
    let guarded = || {
        let rule = Rule::at("x.secret").any_role(["admin"]);
        Engine::builder().access(Access::new().rule(rule))
    };
    let asked = || {
        let secret = "subscription { x { secret } }";
        let admin = SecurityContext { roles: ["admin".into()].into(), ..SecurityContext::default() };
        vec![
            SubscribeRequest { context: admin, ..request("a", secret) },
            request("b", secret),
            request("c", QUERY),
        ]
    };
    decided(Module::FieldAccess, guarded, asked, [2, 1, 0]);
    decided(Module::FieldAccess, Engine::builder, asked, [0, 0, 0]);
    let filtering = || {
        let filter =
            |id: &str, text: &str| SubscribeRequest { filters: vec![text.into()], ..request(id, QUERY) };
        vec![
            filter("a", "event.n > 1"),
            filter("b", "event.secret > 1"),
            filter("c", "event.n >"),
            request("d", QUERY),
        ]
    };
    decided(Module::ClientFilter, guarded, filtering, [1, 1, 1]);
}

#[test]
fn isolation_and_policies_are_counted_for_each_registration() {
    let strict = || {
        let isolation = Isolation { tenancy: Tenancy::Strict, owner: None, ..Isolation::default() };
        Engine::builder().channel("x", ChannelRules { isolation, policy: None })
    };
    let asked = || vec![request_for("a", QUERY, "t", "u"), request("b", QUERY)];
    decided(Module::TenantIsolation, strict, asked, [1, 1, 0]);
    decided(Module::TenantIsolation, Engine::builder, asked, [2, 0, 0]);
    decided(Module::UserIsolation, strict, asked, [0, 0, 0]);
    decided(Module::UserIsolation, Engine::builder, asked, [2, 0, 0]);
    decided(Module::Federation, Engine::builder, asked, [2, 0, 0]);
    let asked = || {
        let with =
            |id: &str, text: &str| SubscribeRequest { policies: vec![text.into()], ..request(id, QUERY) };
        vec![with("a", "event.n > 1"), with("b", "event.n >"), request("c", QUERY)]
    };
    decided(Module::CustomPolicy, Engine::builder, asked, [1, 0, 1]);
}

#[test]
fn decisions_about_events_are_those_of_the_predicate_and_the_rates() {
    for shards in [1, 4] {
        let rates = DeliveryRates { subscription: rate(2), ..DeliveryRates::default() };
        let engine = build(Engine::builder().shards(shards).delivery_rates(rates));
        let asked =
            SubscribeRequest { policies: vec!["event.n > 1 && event.m > 0".into()], ..request("a", QUERY) };
        let mut reader = reader(&engine, [asked]);
        publish(&engine, event_for("x", r#"{"n":2,"m":1}"#, "t", ""));
        publish(&engine, event("x", r#"{"n":1,"m":1}"#));
        publish(&engine, event("x", r#"{"n":2}"#));
        (0..3).for_each(|_| _ = publish(&engine, event("x", r#"{"n":2,"m":1}"#)));
        assert_eq!(outcomes(&engine, Module::Policy), [3, 2, 1]);
        assert_eq!(outcomes(&engine, Module::DeliveryRates), [2, 1, 0]);
        read(&mut reader);
        assert_eq!(engine.metrics().pending(), 0);
    }
}

#[test]
fn who_was_let_in_and_whose_context_expired_is_counted() {
    let now = Arc::new(AtomicU64::new(100));
    let clock = Arc::clone(&now);
    let engine = build(Engine::builder().clock(move || clock.load(Ordering::SeqCst)));
    for outcome in [Ruling::Allowed, Ruling::Allowed, Ruling::Denied, Ruling::Error] {
        engine.count_authentication(outcome);
    }
    let context = SecurityContext { expires: Some(200), ..SecurityContext::default() };
    let mut reader = reader(&engine, [SubscribeRequest { context, ..request("a", QUERY) }]);
    read(&mut reader);
    assert_eq!(outcomes(&engine, Module::Authentication), [2, 1, 1]);
    now.store(200, Ordering::SeqCst);
    assert_eq!(read(&mut reader).len(), 1);
    read(&mut reader);
    assert_eq!(outcomes(&engine, Module::Authentication), [2, 2, 1]);
}

#[test]
fn the_text_for_prometheus_has_every_module_and_outcome_once() {
    let engine = coulis_tests::engine(1);
    let _reader = reader(&engine, [request("a", QUERY)]);
    let text = engine.metrics().prometheus();
    assert_eq!(text.matches("# TYPE coulis_decisions_total counter\n").count(), 1);
    for module in Module::ALL {
        for outcome in ["allowed", "denied", "error"] {
            let row =
                format!("coulis_decisions_total{{module=\"{}\",outcome=\"{outcome}\"}} ", module.name());
            assert_eq!(text.matches(&row).count(), 1, "{row}");
        }
    }
    assert!(text.contains("{module=\"user_isolation\",outcome=\"allowed\"} 1\n"), "{text}");
}
