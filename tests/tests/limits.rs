//! Every bound that refuses, one below it, at it and one above: what it lets through, and what its refusal says.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::{sync::Arc, time::Duration};

use coulis::{
    engine::{Engine, Resolve, Verdict},
    event::Event,
    limits::{self, Limits},
    overflow::Overflow,
    protocol::{Action, Machine},
    security::{
        rate::{Buckets, Rate},
        token::{Algorithm, Key, Keys, TokenError, Verifier},
    },
    subscriber::{Content, OwnedContent, SubscriberOptions},
    value::Value,
};
use coulis_tests::{Kept, build, event, publish, read, reader, request, request_for};

/// What came of an attempt of some size: accepted, or why not.
type Attempt = Result<(), String>;

/// A bound: how it is set, and an attempt of size `n`.
struct Row {
    name: &'static str,
    at: usize,
    set: fn(&mut Limits, usize),
    attempt: fn(&Limits, usize) -> Attempt,
}

macro_rules! row {
    ($name:ident = $at:expr, $attempt:expr) => {
        Row { name: stringify!($name), at: $at, set: |limits, at| limits.$name = at, attempt: $attempt }
    };
}

fn text<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

fn engine(limits: &Limits) -> Engine {
    build(Engine::builder().shards(1).limits(limits.clone()))
}

fn subscribe(limits: &Limits, request: coulis::engine::SubscribeRequest) -> Attempt {
    let engine = engine(limits);
    let mut reader = engine.open(SubscriberOptions::default()).map_err(text)?;
    engine.subscribe(&mut reader, request).map_err(text)
}

fn query(limits: &Limits, query: &str) -> Attempt {
    subscribe(limits, request("s", query))
}

/// Publishes `n` events to a reader that reads nothing meanwhile; a loss is the refusal, and says `name`.
fn unread(limits: &Limits, n: usize, overflow: Overflow, name: &str) -> Attempt {
    let engine = engine(limits);
    let mut reader = reader(
        &engine,
        [coulis::engine::SubscribeRequest { overflow, ..request("s", "subscription { c }") }],
    );
    (0..n).for_each(|number| _ = engine.publish_blocking(event("c", &number.to_string())).unwrap());
    let mut lost = 0;
    reader.drain(usize::MAX, |delivery| {
        if let Content::Gap(gap) = delivery.content {
            lost += gap.count;
        }
    });
    assert_eq!(u64::from(lost), engine.metrics().dropped);
    if lost == 0 { Ok(()) } else { Err(name.into()) }
}

/// Resumes from before the first of `n` events.
fn resume(limits: &Limits, n: usize, name: &str) -> Attempt {
    let engine = engine(limits);
    let resuming = |resume: &str| coulis::engine::SubscribeRequest {
        resume: Some(resume.into()),
        ..request("s", "subscription { c }")
    };
    let start = |engine: &Engine, cursor: &str| {
        let mut reader = reader(engine, [resuming(cursor)]);
        let first = reader.next_timeout(Duration::from_secs(60)).unwrap();
        let OwnedContent::Resumed(resumed) = first.content else { panic!("{first:?}") };
        resumed
    };
    let cursor = start(&engine, "").cursor.unwrap().to_string();
    (0..n).for_each(|_| _ = engine.publish_blocking(event("c", "1")).unwrap());
    start(&engine, &cursor).result.map_err(|_| name.into())
}

fn message(limits: &Limits, text: &str) -> Attempt {
    let mut machine = Machine::new(limits);
    match machine.receive(text) {
        Action::Close(close) => Err(format!("{} {}", close.code(), close.reason())),
        _ => Ok(()),
    }
}

fn nested(open: &str, close: &str, n: usize) -> String {
    open.repeat(n) + "1" + &close.repeat(n)
}

const ROWS: &[Row] = &[
    row!(shards_max = 3, |limits, n| Engine::builder()
        .limits(limits.clone())
        .shards(n)
        .build()
        .map(drop)
        .map_err(text)),
    row!(channels_max = 3, |limits, n| {
        let engine = engine(limits);
        (0..n).try_for_each(|c| engine.publish(event(&format!("c{c}"), "1")).map(drop).map_err(text))
    }),
    row!(name_bytes_max = 9, |limits, n| Event::new("e", "c".repeat(n), b"1".into(), limits)
        .map(drop)
        .map_err(text)),
    row!(event_bytes_max = 9, |limits, n| Event::new("e", "c", vec![b'1'; n], limits)
        .map(drop)
        .map_err(text)),
    row!(event_depth_max = 9, |limits, n| {
        Event::new("e", "c", nested("[", "]", n).into(), limits)
            .map(drop)
            .map_err(|error| format!("event_depth_max {error}"))
    }),
    row!(publish_many_max = 5, |limits, n| {
        engine(limits).publish_many((0..n).map(|_| event("c", "1")).collect()).map(drop).map_err(text)
    }),
    row!(inbox_commands_max = 5, |limits, n| {
        engine(limits).publish_many((0..n).map(|_| event("c", "1")).collect()).map(drop).map_err(text)
    }),
    row!(subscribers_max = 3, |limits, n| {
        let engine = engine(limits);
        let open = |_| engine.open(SubscriberOptions::default()).map_err(text);
        (0..n).map(open).collect::<Result<Vec<_>, _>>().map(drop)
    }),
    row!(subscribers_per_user_max = 3, |limits, n| {
        let engine = engine(limits);
        let open = |_| {
            let mut reader = engine.open(SubscriberOptions::default()).map_err(text)?;
            engine.subscribe(&mut reader, request_for("s", "subscription { c }", "t", "u")).map_err(text)?;
            // A second one on the same reader is not one reader more.
            engine.subscribe(&mut reader, request_for("r", "subscription { c }", "t", "u")).map_err(text)?;
            Ok(reader)
        };
        let others = [("", "u"), ("s", "u"), ("t", "v"), ("t", "")];
        let _others = others
            .map(|(tenant, user)| reader(&engine, [request_for("s", "subscription { c }", tenant, user)]));
        (0..n).map(open).collect::<Result<Vec<_>, _>>().map(drop)
    }),
    row!(subscriptions_per_user_max = 3, |limits, n| {
        let engine = engine(limits);
        let mut readers = [reader(&engine, []), reader(&engine, [])];
        (0..n).try_for_each(|id| {
            let request = request_for(&id.to_string(), "subscription { c }", "t", "u");
            engine.subscribe(&mut readers[id % 2], request).map_err(text)
        })
    }),
    row!(subscription_errors_max = 3, |limits, n| {
        let engine = engine(limits);
        let policies = vec!["event.gone".into()];
        let asked = coulis::engine::SubscribeRequest { policies, ..request("s", "subscription { c }") };
        let mut reader = reader(&engine, [asked]);
        (0..n).for_each(|_| _ = publish(&engine, event("c", "{}")));
        read(&mut reader);
        if reader.has("s") { Ok(()) } else { Err("subscription_errors_max".into()) }
    }),
    row!(subscriptions_per_subscriber_max = 3, |limits, n| {
        let engine = engine(limits);
        let mut reader = engine.open(SubscriberOptions::default()).map_err(text)?;
        (0..n).try_for_each(|id| {
            engine.subscribe(&mut reader, request(&id.to_string(), "subscription { c }")).map_err(text)
        })
    }),
    row!(channels_per_subscription_max = 3, |limits, n| {
        let channels = (0..n).map(|c| format!("c{c}")).collect();
        subscribe(limits, coulis::engine::SubscribeRequest { channels, ..request("s", "subscription { c }") })
    }),
    row!(subscription_id_bytes_max = 9, |limits, n| subscribe(
        limits,
        request(&"s".repeat(n), "subscription { c }")
    )),
    row!(query_bytes_max = 30, |limits, n| query(limits, &format!("{:1$}", "subscription { c }", n))),
    row!(query_tokens_max = 10, |limits, n| query(
        limits,
        &format!("subscription{{c{{a{}}}}}", ",".repeat(n - 8))
    )),
    row!(query_depth_max = 5, |limits, n| query(
        limits,
        &format!("subscription {{ c {} }}", nested("{ a ", " }", n - 1).replace('1', ""))
    )),
    row!(query_fields_max = 5, |limits, n| {
        let fields: String = (1..n).map(|field| format!("f{field} ")).collect();
        query(limits, &format!("subscription {{ c {{ {fields} }} }}"))
    }),
    row!(query_aliases_max = 3, |limits, n| {
        // One at the root, the others through a fragment.
        let once: String = (1..n).map(|field| format!("a{field}: f ")).collect();
        query(limits, &format!("subscription {{ a: c {{ ...F }} }} fragment F on T {{ {once} }}"))
    }),
    row!(query_directives_max = 4, |limits, n| {
        let fields: String = (0..n).map(|field| format!("f{field} @skip(if: false) ")).collect();
        query(limits, &format!("subscription {{ c {{ {fields} }} }}"))
    }),
    row!(variables_bytes_max = 40, |limits, n| {
        let mut json = format!(r#"{{"v":"{}"}}"#, "x".repeat(n - 8)).into_bytes();
        let variables = Value::parse(&mut json, 9).unwrap();
        let query = "subscription ($v: String) { c(v: $v) }";
        subscribe(limits, coulis::engine::SubscribeRequest { variables, ..request("s", query) })
    }),
    row!(ring_frames_max = 8, |limits, n| unread(limits, n, Overflow::DropNewest, "ring_frames_max")),
    row!(ring_bytes_max = 40, |limits, n| {
        // Two bodies of `{"data":{"c":…}}`: 15 bytes each, and what the digits take.
        let limits = Limits { log_events_max: 0, ..limits.clone() };
        let engine = engine(&limits);
        let mut reader = reader(&engine, [request("s", "subscription { c }")]);
        engine.publish_blocking(event("c", "1")).unwrap();
        engine.publish_blocking(event("c", &"1".repeat(n - 31))).unwrap();
        let mut first = None;
        reader.drain(usize::MAX, |delivery| {
            _ = first.get_or_insert(matches!(delivery.content, Content::Result(_)))
        });
        if first == Some(true) { Ok(()) } else { Err("ring_bytes_max".into()) }
    }),
    row!(latest_keys_max = 4, |limits, n| unread(
        &Limits { ring_frames_max: 8, ..limits.clone() },
        8 + n,
        Overflow::latest_per_key("none"),
        "latest_keys_max"
    )
    .and_then(|()| {
        // Each event is a key of its own.
        let engine = engine(&Limits { ring_frames_max: 8, ..limits.clone() });
        let overflow = Overflow::latest_per_key("k");
        let _reader = reader(
            &engine,
            [coulis::engine::SubscribeRequest { overflow, ..request("s", "subscription { c { k } }") }],
        );
        (0..8 + n)
            .for_each(|key| _ = engine.publish_blocking(event("c", &format!(r#"{{"k":{key}}}"#))).unwrap());
        if engine.metrics().dropped == 0 { Ok(()) } else { Err("latest_keys_max".into()) }
    })),
    row!(log_events_max = 5, |limits, n| resume(limits, n, "log_events_max")),
    row!(replay_events_max = 5, |limits, n| resume(limits, n, "replay_events_max")),
    row!(resolver_pending_max = 4, |limits, n| {
        let engine = engine(limits);
        let resolver: Arc<dyn Resolve> = Kept::asynchronous();
        let request = coulis::engine::SubscribeRequest {
            resolver: Some(resolver),
            ..request("s", "subscription { c }")
        };
        let _reader = reader(&engine, [request]);
        (0..n).for_each(|_| _ = engine.publish_blocking(event("c", "1")).unwrap());
        if engine.metrics().failed == 0 { Ok(()) } else { Err("resolver_pending_max".into()) }
    }),
    row!(body_bytes_max = 40, |limits, n| {
        let engine = engine(&Limits { log_events_max: 0, ..limits.clone() });
        let mut reader = reader(&engine, [request("s", "subscription { c }")]);
        engine.publish_blocking(event("c", &"1".repeat(n - 15))).unwrap();
        let mut body = String::new();
        reader.drain(1, |delivery| {
            if let Content::Result(payload) = delivery.content {
                body = String::from_utf8(payload.body().to_vec()).unwrap();
            }
        });
        if body.contains("errors") { Err(body) } else { Ok(()) }
    }),
    row!(message_bytes_max = 40, |limits, n| {
        message(limits, &format!("{:1$}", r#"{"type":"connection_init"}"#, n))
            .map_err(|error| format!("message_bytes_max {error}"))
    }),
    row!(message_depth_max = 5, |limits, n| {
        let payload = nested(r#"{"a":"#, "}", n - 1);
        message(limits, &format!(r#"{{"type":"connection_init","payload":{payload}}}"#))
            .map_err(|error| format!("message_depth_max {error}"))
    }),
    row!(replies_max = 5, |limits, n| {
        let mut machine = Machine::new(limits);
        let pings = (0..n).map(|_| machine.receive(r#"{"type":"ping"}"#));
        let closed = pings.filter(|action| matches!(action, Action::Close(_))).count() > 0;
        if closed { Err("replies_max".into()) } else { Ok(()) }
    }),
    row!(token_bytes_max = 40, |limits, n| {
        let key = Key::hmac(Algorithm::HS256, &[7; 32]).map_err(text)?;
        let verifier = Verifier::new(Keys::new([key]).map_err(text)?).limits(limits);
        match verifier.verify(&"a".repeat(n), 0) {
            Err(TokenError::TooLong(error)) => Err(text(error)),
            _ => Ok(()), // read, and found to be no token
        }
    }),
    row!(policy_text_bytes_max = 20, |limits, n| {
        let policies = vec![format!("{:1$}", "true", n).as_str().into()];
        subscribe(limits, coulis::engine::SubscribeRequest { policies, ..request("s", "subscription { c }") })
    }),
    row!(policy_steps_max = 5, |limits, n| {
        let engine = engine(limits);
        let policies = vec!["event.text.contains('a')".into()];
        let mut reader = reader(
            &engine,
            [coulis::engine::SubscribeRequest { policies, ..request("s", "subscription { c }") }],
        );
        // A step for each 64 bytes that are looked at, in the text and in what is searched.
        let document = format!(r#"{{"text":"a{}"}}"#, "b".repeat(64 * n - 2));
        match engine.explain("s", Some(&reader), &event("c", &document)) {
            Verdict::Delivered => {
                publish(&engine, event("c", &document));
                if read(&mut reader).len() == 1 { Ok(()) } else { Err("lost".into()) }
            }
            verdict => Err(text(verdict)),
        }
    }),
    row!(rate_keys_max = 4, |limits, n| {
        let buckets = Buckets::new(Rate::new(1.0, 2).map_err(text)?, limits);
        (0..n).try_for_each(|key| buckets.take(&key, 0).map(drop)).map_err(text)
    }),
    row!(jwks_bytes_max = 150, |limits, n| {
        let key = format!(r#"{{"kty":"oct","alg":"HS256","k":"{}"}}"#, "A".repeat(43));
        let document = format!("{:1$}", format!(r#"{{"keys":[{key}]}}"#), n);
        Keys::jwks(&document, None, limits).map(drop).map_err(text)
    }),
];

/// Bounds that refuse nothing: they pace, or they decide how much is kept for reuse.
const PACES: &[&str] = &[
    "batch_commands_max",
    "publish_wait_max",
    "plans_max",
    "plans_bytes_max",
    "subscription_errors_window",
    "policies_max",
    // In whole pieces of memory, and beside what stands in the event itself: engine/src/policy/tests.rs.
    "policy_bytes_max",
    "log_bytes_max",
    "log_age_max",
    "logs_bytes_max",
];

#[test]
fn every_bound_lets_its_size_through_and_nothing_above() {
    let mut wrong = Vec::new();
    for Row { name, at, set, attempt } in ROWS {
        let mut limits = Limits::default();
        set(&mut limits, *at);
        for n in [at - 1, *at] {
            if let Err(error) = attempt(&limits, n) {
                wrong.push(format!("{name} = {at} refuses {n}: {error}"));
            }
        }
        match attempt(&limits, at + 1) {
            Ok(()) => wrong.push(format!("{name} = {at} lets {} through", at + 1)),
            Err(error) if !error.contains(name) => wrong.push(format!("{name} is not named by: {error}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// How long the longest text of its kind is that a policy may be.
fn longest(of: impl Fn(usize) -> String, up_to: usize) -> usize {
    let limits = Limits { policy_text_bytes_max: usize::MAX, ..Limits::default() };
    let fits = |len: &usize| {
        let policies = vec![of(*len).as_str().into()];
        let asked = coulis::engine::SubscribeRequest { policies, ..request("s", "subscription { c }") };
        subscribe(&limits, asked).is_ok()
    };
    (1..=up_to).rev().find(fits).unwrap_or(0)
}

#[test]
fn bounds_that_no_setting_changes_hold() {
    let padding = longest(|len| "true".to_owned() + &" ".repeat(len), limits::POLICY_TEXT_BYTES_MAX);
    assert_eq!("true".len() + padding, limits::POLICY_TEXT_BYTES_MAX);
    let chain = |len: usize| format!("event.n == 1{}", " + 1".repeat(len));
    let chained = longest(chain, limits::POLICY_CHAIN_TOKENS_MAX);
    assert!(chained > 0 && 2 * chained <= limits::POLICY_CHAIN_TOKENS_MAX, "{chained}");
    let brackets = |len: usize| format!("{}true{}", "(".repeat(len), ")".repeat(len));
    let nested = longest(brackets, 2 * limits::POLICY_LEVELS_MAX);
    assert!(nested > 8 && nested <= usize::from(limits::POLICY_DEPTH_MAX), "{nested}");
    let pattern = |len: usize| format!("'a'.matches('(a{{{len}}}){{{len}}}')");
    let matched = longest(pattern, 1_000);
    assert!(matched > 10 && matched * matched <= limits::PATTERN_BYTES_MAX, "{matched}");
}

#[test]
fn what_a_user_gave_back_is_free_again() {
    let bounds = Limits { subscribers_per_user_max: 1, subscriptions_per_user_max: 2, ..Limits::default() };
    let engine = engine(&bounds);
    let ask = |id: &str, user: &str| request_for(id, "subscription { c }", "t", user);
    let context = |user: &str| ask("", user).context;
    let (mut one, mut two) = (reader(&engine, [ask("a", "u"), ask("b", "u")]), reader(&engine, []));
    let refused = |reader: &mut coulis::subscriber::Subscriber, id: &str| {
        engine.subscribe(reader, ask(id, "u")).err().map(text)
    };
    assert!(refused(&mut one, "c").unwrap().contains("subscriptions_per_user_max"));
    assert!(refused(&mut two, "c").unwrap().contains("subscribers_per_user_max"));
    // Completed; then revoked; then another's by a new context.
    one.cancel("a");
    assert_eq!(refused(&mut one, "c"), None);
    assert_eq!(engine.revoke(|context| context.user.is_some()), 2);
    assert_eq!(refused(&mut two, "c"), None);
    assert!(refused(&mut one, "d").is_some());
    assert_eq!(two.refresh(context("v")), 0);
    read(&mut one);
    assert_eq!(refused(&mut one, "d"), None);
    // A reader may say whose it is before it subscribes.
    assert!(two.belong_to(&context("u")).is_err());
    drop(one);
    assert!(two.belong_to(&context("u")).is_ok());
    let mut three = reader(&engine, []);
    assert!(refused(&mut three, "e").is_some() && three.belong_to(&context("u")).is_err());
    drop(two);
    assert_eq!(refused(&mut three, "e"), None);
}

#[test]
fn every_bound_is_here() {
    let all = format!("{:?}", Limits::default());
    let names = all.split(['{', ',']).skip(1).filter_map(|field| Some(field.split_once(':')?.0.trim()));
    let known = |name: &&str| ROWS.iter().any(|row| row.name == *name) || PACES.contains(name);
    let unknown: Vec<_> = names.filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "without a row: {unknown:?}");
}
