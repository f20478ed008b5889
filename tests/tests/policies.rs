//! Who gets which event: every mechanism with what it allows, denies, what is absent, malformed and without an answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use coulis::{
    engine::{BuildError, Engine, EngineBuilder, SubscribeError, SubscribeRequest, Verdict},
    event::{Event, Federation},
    id::Identity,
    limits::Limits,
    plan::{OperationName, Schema},
    policy::standard::{Isolation, Tenancy},
    security::{
        ChannelRules, Condition, Pace, Rules, SecurityContext,
        access::{Access, Otherwise, Rule},
        rate::Rate,
    },
    subscriber::{Content, Subscriber},
    value::Value,
};
use coulis_tests::{Kept, build, engine, event, event_for, publish, read, reader, request, request_for};

const QUERY: &str = "subscription { x { n } }";
const RELOADS: usize = 3_000;

fn policy(text: &str) -> ChannelRules {
    ChannelRules { policy: Some(text.into()), ..ChannelRules::default() }
}

fn asking(id: &str, text: &str) -> SubscribeRequest {
    SubscribeRequest { policies: vec![text.into()], ..request_for(id, QUERY, "t", "u") }
}

fn variables(text: &str) -> Value {
    Value::parse(&mut text.as_bytes().to_vec(), 32).expect("JSON")
}

/// On one shard and on four, where events and readers are on different ones.
fn on_shards(test: impl Fn(EngineBuilder)) {
    for shards in [1, 4] {
        test(Engine::builder().shards(shards));
    }
}

fn deletion(before: &str) -> Event {
    event("x", "null").with_before(before.into(), &Limits::default()).expect("an event")
}

fn change(before: &str, after: &str) -> Event {
    event("x", after).with_before(before.into(), &Limits::default()).expect("an event")
}

/// The numbers that a reader got, of results.
fn numbers(reader: &mut Subscriber) -> Vec<String> {
    read(reader)
        .into_iter()
        .map(|line| line.replace(r#"{"data":{"x":{"n":"#, "").replace("}}}", ""))
        .collect()
}

#[test]
fn policies_of_a_channel_a_field_and_a_subscription_all_hold() {
    on_shards(|builder| {
        let builder = builder.channel("x", policy("event.n > 0")).field("x", "event.n < 10");
        let engine = build(builder);
        let mut reader = reader(&engine, [asking("a", "event.n != 5"), request_for("b", QUERY, "t", "u")]);
        for n in ["0", "1", "5", "10", "null", "\"1\"", "[]"] {
            publish(&engine, event("x", &format!(r#"{{"n":{n}}}"#)));
        }
        publish(&engine, event("x", "{}"));
        publish(&engine, event("x", "7"));
        assert_eq!(numbers(&mut reader), ["a 1", "b 1", "b 5"]);
        let metrics = engine.metrics();
        assert!(metrics.policy_errors > 0, "what is absent or of another type has no answer");
        assert_eq!(metrics.pending(), 0);
    });
}

#[test]
fn arguments_variables_and_the_context_are_known_to_a_policy() {
    on_shards(|builder| {
        let engine = build(builder);
        let query = "subscription($room: String) { x(room: $room, least: 3) { n } }";
        let text = "event.room == args.room && event.room == vars.room && event.n >= args.least \
                    && ('admin' in ctx.roles || event.owner == ctx.user_id)";
        let ask = |id: &str, room: &str, user: &str, roles: &[&str]| SubscribeRequest {
            query: query.into(),
            variables: variables(&format!(r#"{{"room":"{room}"}}"#)),
            policies: vec![text.into()],
            context: SecurityContext {
                roles: roles.iter().map(|role| Box::from(*role)).collect(),
                ..SecurityContext::new(Identity::new(user), None)
            },
            ..request(id, query)
        };
        let asked = [ask("a", "r", "7", &[]), ask("b", "r", "8", &["admin"]), ask("c", "s", "8", &["admin"])];
        let mut reader = reader(&engine, asked);
        // An identity is the integer of its digits, too.
        publish(&engine, event("x", r#"{"room":"r","n":3,"owner":7}"#));
        publish(&engine, event("x", r#"{"room":"r","n":4,"owner":"7"}"#));
        publish(&engine, event("x", r#"{"room":"r","n":2,"owner":7}"#));
        publish(&engine, event("x", r#"{"room":"s","n":5}"#));
        assert_eq!(numbers(&mut reader), ["a 3", "b 3", "a 4", "b 4", "c 5"]);
    });
}

#[test]
fn a_tree_is_the_same_as_its_text() {
    let engine = engine(1);
    let tree = variables(
        r#"{"and":[{"eq":["event.room","vars.room"]},{"in":["event.n",[1,2]]},{"not":{"has":"event.gone"}}]}"#,
    );
    let request = SubscribeRequest {
        query: "subscription($room: String) { x(room: $room) { n } }".into(),
        variables: variables(r#"{"room":"r"}"#),
        filters: vec![Condition::from(&tree)],
        ..request("a", QUERY)
    };
    let mut reader = reader(&engine, [request]);
    for document in [
        r#"{"room":"r","n":1}"#,
        r#"{"room":"s","n":1}"#,
        r#"{"room":"r","n":3}"#,
        r#"{"room":"r","n":2,"gone":null}"#,
        r#"{"room":"r","n":2.0}"#,
    ] {
        publish(&engine, event("x", document));
    }
    assert_eq!(numbers(&mut reader), ["a 1", "a 2.0"]);
}

#[test]
fn a_subscription_to_all_channels_keeps_the_rules_of_each() {
    let strict = Isolation { tenancy: Tenancy::Strict, ..Isolation::default() };
    let guarded = ChannelRules { isolation: strict, policy: Some("'hr' in ctx.roles".into()) };
    let named = |channels: [(&str, ChannelRules); 2]| {
        channels.into_iter().map(|(name, rules)| (name.to_owned(), rules)).collect()
    };
    on_shards(|builder| {
        let builder = builder.channel("pay", guarded.clone()).channel("x", policy("event.n < 10"));
        let engine = build(builder.isolation(Isolation { owner: None, ..Isolation::default() }));
        let ask = |id: &str, roles: &[&str]| SubscribeRequest {
            channels: vec!["x".into(), "*".into()],
            context: SecurityContext {
                roles: roles.iter().map(|role| Box::from(*role)).collect(),
                ..SecurityContext::new(Identity::new("u"), Identity::new("t"))
            },
            ..request(id, QUERY)
        };
        let mut reader = reader(&engine, [ask("all", &["hr"]), ask("few", &[])]);
        let tell = || {
            for (channel, document, tenant) in [
                ("pay", r#"{"n":1}"#, ""),
                ("pay", r#"{"n":2}"#, "t"),
                ("pay", r#"{"n":3}"#, "s"),
                ("x", r#"{"n":4}"#, ""),
                ("x", r#"{"n":14}"#, ""),
                ("x", r#"{"n":5,"user_id":"v"}"#, ""),
                ("y", r#"{"n":6}"#, "t"),
                ("y", r#"{"n":7}"#, "s"),
                ("y", r#"{"n":8,"user_id":"v"}"#, ""),
                ("y", r#"{"n":18}"#, ""),
            ] {
                publish(&engine, event_for(channel, document, tenant, ""));
            }
        };
        let mut got = || {
            let mut got = numbers(&mut reader);
            got.sort();
            got
        };
        tell();
        let rest = ["all 18", "all 2", "all 4", "all 6", "all 8", "few 18", "few 4", "few 6", "few 8"];
        assert_eq!(got(), rest);
        let explained = engine.explain("few", None, &event_for("pay", r#"{"n":2}"#, "t", ""));
        assert_eq!(explained.to_string(), "denied by policy of channel `pay` at 1:6");
        // Rules of its own go for what no other rules are for.
        let channels = named([("pay", guarded.clone()), ("*", policy("event.n > 6"))]);
        assert_eq!(engine.reload(Rules { channels, ..Rules::default() }), Ok(0));
        tell();
        assert_eq!(got(), ["all 14", "all 18", "all 2", "few 14", "few 18"]);
    });
}

#[test]
fn an_argument_is_what_its_type_makes_of_it() {
    let sdl = "type Query { a: Int } type X { n: Int } input By { ids: [ID!], least: Int = 2 }
               type Subscription { x(id: ID, by: By): X }";
    let schema = Schema::parse(sdl).expect("a schema");
    let engine = build(Engine::builder().shards(1).schema(Some(schema)));
    let ask = |id: &str, query: &str, text: &str| SubscribeRequest {
        query: query.into(),
        policies: vec![text.into()],
        ..request(id, query)
    };
    let asked = [
        ask("text", r#"subscription { x(id: "7") { n } }"#, "event.id == args.id"),
        ask("int", "subscription { x(id: 7) { n } }", "event.id == args.id"),
        ask("not", "subscription { x(id: 7) { n } }", "event.id != args.id"),
        ask(
            "inner",
            "subscription { x(by: {ids: 7}) { n } }",
            "event.id in args.by.ids && event.n >= args.by.least",
        ),
    ];
    let mut reader = reader(&engine, asked);
    publish(&engine, event("x", r#"{"id":"7","n":2}"#));
    assert_eq!(numbers(&mut reader), ["text 2", "int 2", "inner 2"]);
}

#[test]
fn what_cannot_be_compiled_refuses_the_subscription_and_names_the_place() {
    let engine = engine(1);
    let mut subscriber = reader(&engine, []);
    let mut refused = |text: &str| match engine.subscribe(&mut subscriber, asking("a", text)) {
        Err(SubscribeError::Policy(error)) => error.to_string(),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(refused("event.n == rooom"), "policy: 1:12: undeclared reference to `rooom`");
    assert_eq!(refused("event.n > 1 &&\n ctx.rolez == []"), "policy: 2:2: `ctx` has no field `rolez`");
    assert_eq!(
        refused("event.n.startsWith(1)"),
        "policy: 1:19: `startsWith` does not take null or bool or int or uint or double or string or list or map and int"
    );
    assert!(refused("event.n ==").starts_with("policy: 1:"));
    assert_eq!(refused("event.n + 1"), "policy: 1:9: a policy answers true or false, this is int");
    assert_eq!(refused("event.n.matches('(')"), "policy: 1:17: not a regular expression, or too large a one");
    // No event could ever be admitted: a filter on a variable that is not there is not dropped.
    assert_eq!(refused("vars.missing == 'x'"), "policy: 1:14: no such key");
    assert!(
        refused(&format!("event.n == '{}'", "x".repeat(20_000))).contains("policy_text_bytes_max is 16384")
    );
    assert_eq!(subscriber.len(), 0);
    let built = Engine::builder().channel("c", policy("1 +")).build();
    assert!(
        matches!(built, Err(BuildError::Policy(error)) if error.to_string().starts_with("policy of channel `c`: 1:"))
    );
}

#[test]
fn a_loop_that_takes_too_long_is_a_no() {
    let engine =
        build(Engine::builder().shards(1).limits(Limits { policy_steps_max: 500, ..Limits::default() }));
    let mut reader = reader(&engine, [asking("a", "event.l.all(a, event.l.all(b, a + b >= 0))")]);
    let list = |len: usize| format!(r#"{{"n":{len},"l":[{}]}}"#, vec!["1"; len].join(","));
    publish(&engine, event("x", &list(3)));
    publish(&engine, event("x", &list(300)));
    assert_eq!(numbers(&mut reader), ["a 3"]);
    assert_eq!(engine.metrics().policy_errors, 1);
}

#[test]
fn federated_events_stay_with_their_service_and_their_id() {
    on_shards(|builder| {
        let engine = build(builder);
        let federation =
            |service: &str, id: &str| Federation { service: Identity::new(service), id: Identity::new(id) };
        let ask = |id: &str, service: &str, own: &str| SubscribeRequest {
            context: SecurityContext { federation: federation(service, own), ..SecurityContext::default() },
            ..request(id, QUERY)
        };
        let mut reader =
            reader(&engine, [ask("a", "s", "1"), ask("b", "s", "2"), ask("c", "r", "1"), ask("d", "", "")]);
        for (n, service, id) in [(1, "s", "1"), (2, "s", ""), (3, "", "1"), (4, "", "")] {
            publish(&engine, event("x", &format!(r#"{{"n":{n}}}"#)).with_federation(federation(service, id)));
        }
        // Both must agree where both are set: services may share ids.
        assert_eq!(numbers(&mut reader), ["a 1", "a 2", "b 2", "a 3", "c 3", "a 4", "b 4", "c 4", "d 4"]);
    });
}

#[test]
fn what_is_hidden_by_a_change_is_told_to_who_could_see_it() {
    on_shards(|builder| {
        let engine = build(builder.channel("x", policy("event.open && event.owner == ctx.user_id")));
        let mut reader =
            reader(&engine, [request_for("u", QUERY, "", "u"), request_for("v", QUERY, "", "v")]);
        let row = |n: u32, open: bool, owner: &str| format!(r#"{{"n":{n},"open":{open},"owner":"{owner}"}}"#);
        publish(&engine, change(&row(1, true, "u"), &row(1, false, "u")));
        publish(&engine, change(&row(2, true, "u"), &row(2, true, "v")));
        publish(&engine, change(&row(3, false, "u"), &row(3, true, "u")));
        publish(&engine, change(&row(4, false, "u"), &row(4, false, "v")));
        publish(&engine, deletion(&row(5, true, "v")));
        publish(&engine, deletion(&row(6, false, "v")));
        // Nothing says who could see it.
        publish(&engine, event("x", "null"));
        let gone = |id: &str, n: u32| {
            format!(r#"{id} {{"data":{{"x":null}},"extensions":{{"coulis":{{"tombstone":{{"x":{{"n":{n}}}}}"#)
        };
        let got: Vec<_> = read(&mut reader)
            .into_iter()
            .map(|line| match line.split_once(r#","cursor":"#) {
                Some((line, _)) => line.to_owned(),
                None => line,
            })
            .collect();
        let result = |id: &str, n: u32| format!(r#"{id} {{"data":{{"x":{{"n":{n}}}}}}}"#);
        assert_eq!(
            got[..2],
            [gone("u", 1), if got[1].starts_with('u') { gone("u", 2) } else { result("v", 2) }]
        );
        assert!(got.contains(&gone("u", 2)) && got.contains(&result("v", 2)));
        assert_eq!(got[3..], [result("u", 3), gone("v", 5)]);
        assert_eq!(engine.metrics().pending(), 0);
    });
}

#[test]
fn a_tombstone_waits_for_the_results_before_it_and_shows_nothing_of_a_resolver() {
    let engine = build(Engine::builder().shards(1).channel("x", policy("event.open")));
    let resolver = Kept::asynchronous();
    let mut reader =
        reader(&engine, [SubscribeRequest { resolver: Some(resolver.clone()), ..request("a", QUERY) }]);
    publish(&engine, event("x", r#"{"n":1,"open":true}"#));
    publish(&engine, change(r#"{"n":2,"open":true}"#, r#"{"n":2,"open":false}"#));
    assert_eq!(read(&mut reader).len(), 0);
    resolver.next().expect("a job").answer(Ok(br#"{"n":1}"#.to_vec()));
    let got = read(&mut reader);
    assert_eq!(got[0], r#"a {"data":{"x":{"n":1}}}"#);
    assert!(got[1].contains(r#""data":{"x":null},"extensions":{"coulis":{"tombstone":true"#), "{got:?}");
}

#[test]
fn tombstones_that_wait_for_an_answer_are_bounded() {
    let limits = Limits { resolver_pending_max: 4, ..Limits::default() };
    let engine = build(Engine::builder().shards(1).limits(limits).channel("x", policy("event.open")));
    let resolver = Kept::asynchronous();
    let mut reader =
        reader(&engine, [SubscribeRequest { resolver: Some(resolver.clone()), ..request("a", QUERY) }]);
    publish(&engine, event("x", r#"{"n":1,"open":true}"#));
    for _ in 0..10 {
        publish(&engine, change(r#"{"n":2,"open":true}"#, r#"{"n":2,"open":false}"#));
    }
    resolver.next().expect("a job").answer(Ok(br#"{"n":1}"#.to_vec()));
    let got = read(&mut reader);
    assert_eq!(got.iter().filter(|body| body.contains("tombstone")).count(), 3, "{got:?}");
    assert_eq!(engine.metrics().pending(), 0);
}

#[test]
fn a_revoke_during_a_drain_holds_for_what_was_not_taken_yet() {
    let engine = build(Engine::builder().shards(1));
    let mut reader = reader(&engine, [request_for("a", QUERY, "t", "u")]);
    for n in 0..500 {
        publish(&engine, event("x", &format!(r#"{{"n":{n}}}"#)));
    }
    let (mut results, mut ended) = (0, 0);
    reader.drain(usize::MAX, |delivery| match delivery.content {
        Content::Result(_) if results == 0 => {
            results += 1;
            assert_eq!(engine.revoke(|_| true), 1);
        }
        Content::Result(_) => results += 1,
        _ => ended += 1,
    });
    assert_eq!(ended, 1);
    assert!(results <= 64, "{results} results were handed out");
}

/// While subscriptions begin, rules are replaced again and again; what is published under those that deny is nobody's.
#[test]
fn a_subscription_that_begins_during_a_reload_is_judged_by_what_holds() {
    let engine = build(Engine::builder().shards(1));
    let over = AtomicBool::new(false);
    let rules = |text: &str| Rules { channels: [("x".into(), policy(text))].into(), ..Rules::default() };
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..RELOADS {
                engine.reload(rules("false")).unwrap();
                publish(&engine, event("x", r#"{"n":1}"#));
                engine.reload(rules("true")).unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            let mut reader = reader(&engine, [request("a", QUERY)]);
            assert_eq!(read(&mut reader), Vec::<String>::new());
        }
    });
}

#[test]
fn a_revoked_subscription_gets_nothing_more_and_is_told() {
    on_shards(|builder| {
        let engine = build(builder);
        let mut readers = [
            reader(&engine, [request_for("a", QUERY, "t", "u"), request_for("b", QUERY, "t", "v")]),
            reader(&engine, [request_for("a", QUERY, "s", "u")]),
        ];
        publish(&engine, event("x", r#"{"n":1}"#));
        // What waits in a ring is not handed out either.
        assert_eq!(engine.revoke(|context| context.user == Identity::new("u")), 2);
        publish(&engine, event("x", r#"{"n":2}"#));
        let revoked = r#"{"data":null,"errors":[{"message":"the subscription was revoked","extensions":{"code":"REVOKED"}}]}"#;
        assert_eq!(numbers(&mut readers[0]), [format!("a {revoked}"), "b 1".into(), "b 2".into()]);
        assert_eq!(numbers(&mut readers[1]), [format!("a {revoked}")]);
        assert_eq!((readers[0].len(), readers[1].len()), (1, 0));
        engine.subscribe(&mut readers[1], request_for("a", QUERY, "s", "w")).expect("the id is free");
        let metrics = engine.metrics();
        assert_eq!((metrics.pending(), metrics.subscriptions), (0, 2));
    });
}

#[test]
fn a_stream_ends_before_the_first_frame_after_its_time() {
    // F8: random expiries against a clock of our own, ahead of and behind frames that wait.
    let now = Arc::new(AtomicU64::new(1_000));
    let clock = Arc::clone(&now);
    let engine = build(Engine::builder().shards(2).clock(move || clock.load(Ordering::Relaxed)));
    let mut random = 9_u64;
    let mut next = move |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    for round in 0..10_000 {
        let start = now.load(Ordering::Relaxed);
        let expires = start + 1 + next(4);
        let context = SecurityContext { expires: Some(expires), ..SecurityContext::default() };
        let mut reader = reader(&engine, [SubscribeRequest { context, ..request("a", QUERY) }]);
        let (mut ended, mut last) = (false, 0);
        for step in 1..=4 {
            publish(&engine, event("x", &format!(r#"{{"n":{step}}}"#)));
            now.fetch_add(next(2), Ordering::Relaxed);
            let time = now.load(Ordering::Relaxed);
            if next(2) == 0 {
                continue;
            }
            let got = numbers(&mut reader);
            if time >= expires && !ended {
                let told = got.first().is_some_and(|first| first.contains("TOKEN_EXPIRED"));
                assert!(told && got.len() == 1, "round {round}: {got:?}");
                ended = true;
            } else if ended {
                assert_eq!(got, [""; 0], "round {round}");
            } else {
                let expected: Vec<_> = (last + 1..=step).map(|n| format!("a {n}")).collect();
                assert_eq!(got, expected, "round {round}");
                last = step;
            }
        }
    }
    assert_eq!(engine.metrics().pending(), 0);
}

#[test]
fn new_rules_judge_live_subscriptions_without_a_gap() {
    on_shards(|builder| {
        let engine = build(builder.channel("x", policy("event.n > 0")));
        let mut reader = reader(&engine, [request_for("a", QUERY, "", "u"), asking("b", "event.n != 3")]);
        publish(&engine, event("x", r#"{"n":1}"#));
        let channels = |text: &str| [("x".to_owned(), policy(text))].into();
        let rules = |text: &str| Rules { channels: channels(text), ..Rules::default() };
        assert!(engine.reload(rules("event.n >")).is_err(), "the old rules stay");
        publish(&engine, event("x", r#"{"n":2}"#));
        assert_eq!(engine.reload(rules("event.n > 2")), Ok(0));
        for n in [2, 3, 4] {
            publish(&engine, event("x", &format!(r#"{{"n":{n}}}"#)));
        }
        let got = numbers(&mut reader);
        let of = |id: &str| {
            got.iter().filter(|line| line.starts_with(id)).map(|line| &line[2..]).collect::<Vec<_>>()
        };
        assert_eq!((of("a"), of("b")), (vec!["1", "2", "3", "4"], vec!["1", "2", "4"]));
        // One whose variables the new rules cannot do without ends, and says why.
        assert_eq!(engine.reload(rules("event.n > 2 && vars.room == 'r'")), Ok(2));
        publish(&engine, event("x", r#"{"n":5}"#));
        let ended = numbers(&mut reader);
        assert!(
            ended.len() == 2
                && ended.iter().all(|line| line.contains("POLICY_REFUSED") && line.contains("no such key")),
            "{ended:?}"
        );
        assert_eq!((reader.len(), engine.metrics().pending()), (0, 0));
    });
}

#[test]
fn a_new_token_changes_what_is_seen_from_the_next_event_on() {
    on_shards(|builder| {
        let engine = build(builder.channel("x", policy("event.level in ctx.scopes")));
        let scopes = |scopes: &[&str]| SecurityContext {
            scopes: scopes.iter().map(|scope| Box::from(*scope)).collect(),
            ..SecurityContext::new(Identity::new("u"), Identity::new("t"))
        };
        let mut reader =
            reader(&engine, [SubscribeRequest { context: scopes(&["low"]), ..request("a", QUERY) }]);
        let tell = |n: u32| {
            publish(&engine, event_for("x", &format!(r#"{{"n":{n},"level":"low"}}"#), "t", ""));
            publish(&engine, event("x", &format!(r#"{{"n":{},"level":"high"}}"#, n + 1)));
        };
        tell(1);
        assert_eq!(reader.refresh(scopes(&["low", "high"])), 0);
        tell(3);
        assert_eq!(reader.refresh(scopes(&[])), 0);
        tell(5);
        assert_eq!(numbers(&mut reader), ["a 1", "a 3", "a 4"]);
    });
}

#[test]
fn a_filter_names_only_what_its_reader_may_read() {
    let rule = Rule::at("x.secret").any_role(["admin"]).otherwise(Otherwise::Mask);
    let engine = build(Engine::builder().shards(1).access(Access::new().rule(rule)));
    let mut subscriber = reader(&engine, []);
    let mut ask = |filter: &str, roles: &[&str]| {
        let context = SecurityContext {
            roles: roles.iter().map(|role| Box::from(*role)).collect(),
            ..SecurityContext::default()
        };
        let id = format!("{filter}{roles:?}");
        let request = SubscribeRequest { filters: vec![filter.into()], context, ..request(&id, QUERY) };
        engine.subscribe(&mut subscriber, request)
    };
    assert_eq!(ask("event.n > 1", &[]), Ok(()));
    assert_eq!(ask("event.secret.startsWith('a')", &["admin"]), Ok(()));
    let hidden = [
        "event.secret == 'a'",
        "has(event.secret)",
        "event['secret'] != 'a'",
        "before.secret == 'a'",
        "size(event) > 1",
        "event.n == 1 || event.secret.x == 'a'",
    ];
    for filter in hidden {
        assert!(matches!(ask(filter, &[]), Err(SubscribeError::Forbidden { .. })), "{filter}");
    }
}

#[test]
fn a_new_token_changes_which_fields_are_read() {
    let rule = Rule::at("x.secret").any_role(["admin"]).otherwise(Otherwise::Mask);
    let engine = build(Engine::builder().shards(1).access(Access::new().rule(rule)));
    let roles = |roles: &[&str]| SecurityContext {
        roles: roles.iter().map(|role| Box::from(*role)).collect(),
        ..SecurityContext::default()
    };
    let query = "subscription { x { secret } }";
    let mut reader =
        reader(&engine, [SubscribeRequest { context: roles(&["admin"]), ..request("a", query) }]);
    let tell = || publish(&engine, event("x", r#"{"secret":1}"#));
    tell();
    assert_eq!(reader.refresh(roles(&[])), 0);
    tell();
    assert_eq!(reader.refresh(roles(&["admin"])), 0);
    tell();
    let result = |secret: &str| format!(r#"a {{"data":{{"x":{{"secret":{secret}}}}}}}"#);
    assert_eq!(read(&mut reader), [result("1"), result("null"), result("1")]);
}

#[test]
fn who_registers_too_often_is_refused() {
    // So slow that no token comes while the test runs.
    let rate = |burst| Some(Rate::new(1e-6, burst).expect("a rate"));
    let pace = Pace { user: rate(3), tenant: rate(4), subscriber: rate(2) };
    let engine = build(Engine::builder().shards(1).pace(pace));
    let mut readers: Vec<_> = (0..4).map(|_| reader(&engine, [])).collect();
    let mut register = |at: usize, id: &str, tenant: &str, user: &str| {
        engine.subscribe(&mut readers[at], request_for(id, QUERY, tenant, user))
    };
    assert_eq!(register(0, "a", "t", "u"), Ok(()));
    assert_eq!(register(0, "b", "t", "u"), Ok(()));
    assert_eq!(register(0, "c", "", ""), Err(SubscribeError::RateLimited("subscriber")));
    assert_eq!(register(1, "a", "t", "u"), Ok(()));
    assert_eq!(register(1, "b", "t", "u"), Err(SubscribeError::RateLimited("user")));
    assert_eq!(register(1, "b", "t", "v"), Ok(()));
    assert_eq!(register(2, "a", "t", "w"), Err(SubscribeError::RateLimited("tenant")));
    assert_eq!(register(3, "a", "s", "u"), Ok(()), "the user of another tenant");
    assert_eq!(engine.metrics().refused, 3);
}

#[test]
fn who_is_let_in_ahead_pays_once_and_for_what_is_not_valid_too() {
    let pace = Pace { subscriber: Some(Rate::new(1e-6, 2).expect("a rate")), ..Pace::default() };
    let engine = build(Engine::builder().shards(1).pace(pace));
    let mut reader = reader(&engine, []);
    let mut admit = |query: &str| {
        let planned = engine.plan(query, &OperationName::Only);
        engine.admit(&mut reader, &SecurityContext::default(), planned).map(drop)
    };
    assert_eq!(admit(QUERY), Ok(()));
    assert!(matches!(admit("subscription {"), Err(SubscribeError::InvalidQuery(_))));
    assert_eq!(admit("subscription {"), Err(SubscribeError::RateLimited("subscriber")));
    assert_eq!(engine.metrics().refused, 2);
    assert_eq!(engine.subscribe(&mut reader, request("a", QUERY)), Ok(()));
    let early = engine.subscribe(&mut reader, request("b", QUERY));
    assert_eq!(early, Err(SubscribeError::RateLimited("subscriber")));
}

#[test]
fn explain_names_the_step_and_the_clause() {
    let strict = Isolation { tenancy: Tenancy::Strict, ..Isolation::default() };
    let rules = ChannelRules { isolation: strict, policy: Some("event.n > 0 && event.n < 10".into()) };
    let engine = build(Engine::builder().shards(2).channel("x", rules));
    let mut asked = asking("a", "event.name == 'é' || \n event.m == 1");
    asked.events = vec!["test".into()];
    let mut subscriber = reader(&engine, [asked]);
    let explain = |event: &Event| engine.explain("a", None, event);
    let told = |document: &str| explain(&event_for("x", document, "t", "")).to_string();
    assert_eq!(told(r#"{"n":1,"m":1}"#), "delivered");
    assert_eq!(told(r#"{"n":0}"#), "denied by policy of channel `x` at 1:9");
    assert_eq!(told(r#"{"n":11}"#), "denied by policy of channel `x` at 1:24");
    assert_eq!(told(r#"{"n":1,"m":2}"#), "denied by policy at 1:19: no such key");
    assert_eq!(told(r#"{"n":"1"}"#), "denied by policy of channel `x` at 1:9: no such overload");
    assert_eq!(explain(&event("x", "{}")).to_string(), "denied by isolation");
    assert_eq!(explain(&event("y", "{}")), Verdict::Channel(vec!["x".into()]));
    let other = Event::new("other", "x", b"{}".to_vec(), &Limits::default()).expect("an event");
    assert_eq!(explain(&other), Verdict::Type(vec!["test".into()]));
    assert_eq!(engine.explain("z", None, &event("x", "{}")), Verdict::NotFound);
    assert_eq!(engine.explain("a", Some(&subscriber), &event("x", "{}")).step(), "policy");
    let gone = deletion(r#"{"tenant_id":"t","n":1,"m":1}"#);
    assert_eq!(explain(&gone), Verdict::Tombstone);
    assert_eq!(numbers(&mut subscriber), [""; 0], "nothing was published");
}

#[test]
fn a_replay_is_judged_like_what_is_live() {
    on_shards(|builder| {
        let engine = build(builder.channel("x", policy("event.level in ctx.roles")));
        let ask = |id: &str, role: &str, resume: &str| SubscribeRequest {
            context: SecurityContext { roles: [Box::from(role)].into(), ..SecurityContext::default() },
            resume: Some(resume.into()),
            ..request(id, QUERY)
        };
        let mut first = reader(&engine, [ask("first", "low", "")]);
        let start = read(&mut first)[0].clone();
        let cursor =
            start.split("cursor\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a cursor");
        publish(&engine, event("x", r#"{"n":1,"level":"low"}"#));
        publish(&engine, event("x", r#"{"n":2,"level":"high"}"#));
        publish(&engine, deletion(r#"{"n":3,"level":"high"}"#));
        let mut late = reader(&engine, [ask("low", "low", cursor), ask("high", "high", cursor)]);
        // The replay comes from the channel's home.
        let mut got = Vec::new();
        while got.len() < 5 {
            let message = late.next_timeout(Duration::from_secs(60)).expect("a message");
            let mut text = Vec::new();
            message.write_next(&mut text);
            got.push(format!("{} {}", message.id, String::from_utf8_lossy(&text)));
        }
        let of = |id: &str| {
            got.iter()
                .filter(|line| line.starts_with(id) && !line.contains("resumed"))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert!(of("low").len() == 1 && of("low")[0].contains(r#"{"n":1}"#), "{got:?}");
        assert_eq!(of("high").len(), 2);
        assert!(of("high")[1].contains("tombstone"), "{got:?}");
    });
}
