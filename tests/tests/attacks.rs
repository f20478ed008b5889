//! Documents and messages made to cost or to pry: each is refused with its code, or costs no more than it may.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::fmt::Write;

use coulis::{
    engine::{Engine, SubscribeError, SubscribeRequest},
    limits::Limits,
    plan::{DocumentDigest, Schema},
    protocol::{Action, Machine},
    subscriber::SubscriberOptions,
    value::Value,
};
use coulis_tests::{build, event, publish, read, reader, request};

const SCHEMA: &str = "type Query { a: T } type Mutation { a: T } type Subscription { a(l: [Int]): T } \
    type T { a: T b: Int c: String }";

/// Engines with default bounds: one without a schema, one with.
fn engines() -> [Engine; 2] {
    let schema = Schema::parse(SCHEMA).unwrap();
    [build(Engine::builder().shards(1)), build(Engine::builder().shards(1).schema(Some(schema)))]
}

/// What an engine says to a subscription: the codes and messages of its errors, none if it is let in.
fn told(engine: &Engine, request: SubscribeRequest) -> Vec<(&'static str, String)> {
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    match engine.subscribe(&mut reader, request) {
        Ok(()) => Vec::new(),
        Err(SubscribeError::InvalidQuery(errors)) => {
            errors.into_iter().map(|error| (error.code, error.message)).collect()
        }
        Err(error) => panic!("{error}"),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

/// With and without a schema the document is refused with `code`, by a message that holds `words`.
fn refused(text: &str, code: &str, words: &str) {
    for engine in engines() {
        let told = told(&engine, request("s", text));
        let found = told.iter().any(|(found, message)| *found == code && message.contains(words));
        assert!(found, "{}: {:?}", shown(text), told.iter().take(3).collect::<Vec<_>>());
        assert_eq!((engine.metrics().subscriptions, engine.metrics().refused), (0, 1));
    }
}

fn limited(text: &str, limit: &str) {
    refused(text, "LIMIT_EXCEEDED", limit);
}

fn invalid(text: &str, words: &str) {
    refused(text, "GRAPHQL_VALIDATION_FAILED", words);
}

fn accepted(text: &str) {
    for engine in engines() {
        assert_eq!(told(&engine, request("s", text)), [], "{}", shown(text));
    }
}

/// `part(0) part(1) …`, `count` of them.
fn many(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().join(" ")
}

#[test]
fn alias_overloading() {
    let aliases = |count| format!("subscription {{ a {{ {} }} }}", many(count, |at| format!("x{at}: b")));
    accepted(&aliases(15));
    limited(&aliases(16), "query_aliases_max");
    limited(&aliases(100), "query_aliases_max");
}

#[test]
fn alias_overloading_through_fragments() {
    let spread = "...F ...F ...F ...F";
    let text = format!(
        "subscription {{ a {{ {spread} }} }} fragment F on T {{ {} }}",
        many(4, |at| format!("x{at}: b"))
    );
    limited(&text, "query_aliases_max");
}

#[test]
fn aliases_of_one_root_field() {
    invalid("subscription { x: a { b } y: a { b } }", "one root field, not 2");
    invalid("subscription { a { b } ... { y: a { b } } }", "one root field, not 2");
    invalid(
        "subscription { ...F ...G } fragment F on Subscription { x: a { b } } fragment G on Subscription { a { b } }",
        "one root field, not 2",
    );
}

/// What an alias asks for again is the same work: two readers under two aliases share nothing they must not, and one
/// reader's aliases of one field are copies of one value.
#[test]
fn an_alias_gives_the_same_value_again() {
    let [engine, _] = engines();
    let mut reader = reader(&engine, [request("s", "subscription { a { x: b y: b b } }")]);
    publish(&engine, event("a", r#"{"b":1}"#));
    assert_eq!(read(&mut reader), [r#"s {"data":{"a":{"x":1,"y":1,"b":1}}}"#]);
}

#[test]
fn directive_overloading() {
    let directives = |count| format!("subscription {{ a {{ b {} }} }}", "@aa".repeat(count));
    invalid(&directives(50), "aa");
    limited(&directives(51), "query_directives_max");
    limited(&format!("subscription {} {{ a {{ b }} }}", "@aa".repeat(51)), "query_directives_max");
    limited(
        &format!("subscription ($v: Int {}) {{ a(l: [$v]) {{ b }} }}", "@aa".repeat(51)),
        "query_directives_max",
    );
}

#[test]
fn field_duplication() {
    limited(&format!("subscription {{ a {{ {} }} }}", "b ".repeat(600)), "query_tokens_max");
    let text = format!("subscription{{a{{...F...F...F}}}}fragment F on T{{{}}}", "b,".repeat(200));
    limited(&text, "query_fields_max");
}

#[test]
fn a_document_of_many_tokens() {
    limited(&format!("subscription {{ a {{ b }} }} {}", "#\n".repeat(2_000)), "query_tokens_max");
    limited(&format!("subscription {{ a(l: [{}]) {{ b }} }}", "1 ".repeat(1_000)), "query_tokens_max");
    limited(&"{".repeat(1_001), "query_tokens_max");
}

#[test]
fn a_document_of_many_bytes() {
    limited(&format!("subscription {{ a {{ b }} }}{}", " ".repeat(15_000)), "query_bytes_max");
    limited(&format!("subscription {{ a {{ b }} }} # {}", "é".repeat(500_000)), "query_bytes_max");
}

#[test]
fn selections_in_one_another() {
    let nested = |depth| format!("subscription{}{{b{}", "{a".repeat(depth - 1), "}".repeat(depth));
    accepted(&nested(16));
    limited(&nested(17), "query_depth_max");
    limited(&nested(150), "query_depth_max");
    limited(&nested(300), "nested deeper than 200 levels");
}

#[test]
fn values_in_one_another() {
    let text = format!("subscription {{ a(l: {}{}) {{ b }} }}", "[".repeat(300), "]".repeat(300));
    limited(&text, "nested deeper than 200 levels");
}

/// Fragments that use one another in a chain.
fn chain(length: usize) -> String {
    let mut text = "subscription{a{...F1}}".to_owned();
    (1..length).for_each(|at| write!(text, "fragment F{at} on T{{...F{}}}", at + 1).unwrap());
    text + &format!("fragment F{length} on T{{b}}")
}

/// RUSTSEC-2022-0037 and RUSTSEC-2022-0038: fragments nested deeply enough ended the process.
#[test]
fn a_chain_of_fragments() {
    accepted(&chain(60));
    limited(&chain(400), "query_tokens_max");
}

/// The same where bytes and tokens are no bound.
#[test]
fn a_chain_of_fragments_that_a_host_gave_room() {
    let limits = Limits { query_bytes_max: 64 << 20, query_tokens_max: 8 << 20, ..Limits::default() };
    let engine = build(Engine::builder().shards(1).limits(limits));
    assert_eq!(told(&engine, request("s", &chain(90))), []);
    for length in [91, 1_000, 100_000] {
        let told = told(&engine, request("s", &chain(length)));
        assert_eq!(told[0].0, "LIMIT_EXCEEDED");
        assert!(told[0].1.contains("nested deeper than"), "{told:?}");
    }
}

#[test]
fn fragments_that_use_themselves() {
    for text in [
        "subscription { a { ...F } } fragment F on T { ...F }",
        "subscription { a { ...F } } fragment F on T { b a { ...F } }",
        "subscription { a { ...F } } fragment F on T { ...G } fragment G on T { b ...F }",
        "subscription { ...F } fragment F on Subscription { ...F }",
        "subscription { a { b } } fragment F on T { ...F }",
    ] {
        refused(text, "GRAPHQL_VALIDATION_FAILED", "");
    }
}

#[test]
fn a_circle_of_many_fragments() {
    let circle = many(40, |at| format!("fragment F{at} on T{{...F{}}}", (at + 1) % 40));
    refused(&format!("subscription{{a{{...F0}}}}{circle}"), "GRAPHQL_VALIDATION_FAILED", "");
}

#[test]
fn fragments_that_double() {
    let double = many(40, |at| format!("fragment F{at} on T{{...F{n} ...F{n}}}", n = at + 1));
    limited(&format!("subscription{{a{{...F0}}}}{double} fragment F40 on T{{b}}"), "query_fields_max");
}

#[test]
fn fragments_that_double_and_circle() {
    let double = many(40, |at| format!("fragment F{at} on T{{...F{n} ...F{n}}}", n = (at + 1) % 40));
    refused(&format!("subscription{{a{{...F0}}}}{double}"), "LIMIT_EXCEEDED", "query_fields_max");
}

#[test]
fn fragments_with_one_name() {
    invalid("subscription { a { ...F } } fragment F on T { b } fragment F on T { c }", "F");
    let double =
        many(20, |at| format!("fragment F{at} on T{{...F{n} ...F{n}}} fragment F{at} on T{{b}}", n = at + 1));
    limited(&format!("subscription{{a{{...F0}}}}{double} fragment F20 on T{{b}}"), "query_fields_max");
}

#[test]
fn repeated_operation_names() {
    for text in [
        "subscription S { a { b } } subscription S { a { b } }",
        "subscription S { a { b } } query S { a { b } }",
        "subscription { a { b } } subscription { a { b } }",
        "subscription S { a { b } } subscription { a { b } }",
    ] {
        refused(text, "GRAPHQL_VALIDATION_FAILED", "");
    }
    refused(&many(60, |_| "subscription S{a{b}}".into()), "GRAPHQL_VALIDATION_FAILED", "S");
}

#[test]
fn queries_and_mutations() {
    for text in ["{ a { b } }", "query { a { b } }", "mutation { a { b } }"] {
        refused(text, "OPERATION_RESOLUTION_FAILURE", "must be a subscription");
    }
}

#[test]
fn introspection_in_circles() {
    let circle = "fields { type { fields { type { fields { type { name } } } } } }";
    let text = format!("subscription {{ __schema {{ types {{ {circle} }} }} }}");
    refused(&text, "GRAPHQL_VALIDATION_FAILED", "");
    for schema in [None, Some(Schema::parse(SCHEMA).unwrap())] {
        let engine = build(Engine::builder().shards(1).schema(schema).introspection(false));
        for text in [&*text, "subscription { a { __type(name: \"T\") { name } } }"] {
            let codes: Vec<_> = told(&engine, request("s", text)).into_iter().map(|(code, _)| code).collect();
            assert_eq!(codes, ["INTROSPECTION_DISABLED"], "{text}");
        }
        assert_eq!(told(&engine, request("s", "subscription { a { __typename b } }")), []);
    }
}

#[test]
fn a_document_that_nobody_allowed() {
    let text = "subscription { a { b } }";
    let engine = build(Engine::builder().shards(1).allowed_operations([DocumentDigest::of(text)]));
    assert_eq!(told(&engine, request("s", text)), []);
    for other in ["subscription { a { c } }", " subscription { a { b } }", "", "{"] {
        let told = told(&engine, request("s", other));
        assert_eq!(
            told.iter().map(|(code, _)| *code).collect::<Vec<_>>(),
            ["OPERATION_NOT_ALLOWED"],
            "{other}"
        );
    }
}

#[test]
fn incremental_delivery() {
    refused(
        "subscription { a { ... @defer { b } } }",
        "GRAPHQL_VALIDATION_FAILED",
        "`@defer` is not supported",
    );
    refused("subscription { a { b @stream } }", "GRAPHQL_VALIDATION_FAILED", "`@stream` is not supported");
}

#[test]
fn root_fields_under_conditions() {
    invalid("subscription ($v: Boolean!) { a @skip(if: $v) { b } }", "`@skip` is refused at the root");
    invalid(
        "subscription ($v: Boolean!) { ... @include(if: $v) { a { b } } }",
        "`@include` is refused at the root",
    );
}

#[test]
fn definitions_of_a_schema() {
    invalid("subscription { a { b } } type T { x: Int }", "only operations and fragments");
    invalid("subscription { a { b } } schema { query: T }", "only operations and fragments");
}

fn json(text: &str) -> Value {
    Value::parse(&mut text.as_bytes().to_vec(), 128).unwrap()
}

#[test]
fn variables_of_a_megabyte() {
    let large = "x".repeat(1 << 20);
    for variables in [
        format!(r#"{{"v":"{large}"}}"#),
        format!(r#"{{"v":1,"{large}":1}}"#),
        format!(r#"{{"v":[{}1]}}"#, "1,".repeat(1 << 19)),
    ] {
        for engine in engines() {
            let asked = SubscribeRequest {
                variables: json(&variables),
                ..request("s", "subscription ($v: Int) { a(l: [$v]) { b } }")
            };
            let told = told(&engine, asked);
            assert_eq!(told[0].0, "LIMIT_EXCEEDED");
            assert!(told[0].1.contains("variables_bytes_max"), "{told:?}");
        }
    }
}

#[test]
fn a_message_of_more_than_a_megabyte() {
    let message = format!(r#"{{"type":"connection_init","payload":{{"v":"{}"}}}}"#, "x".repeat(1 << 20));
    let Action::Close(close) = Machine::new(&Limits::default()).receive(&*message) else { panic!("let in") };
    assert_eq!(close.code(), 1009);
}

#[test]
fn array_batching() {
    let one = r#"{"type":"subscribe","id":"1","payload":{"query":"subscription { a }"}}"#;
    let batch = format!("[{one},{one}]");
    let Action::Close(close) = Machine::new(&Limits::default()).receive(&*batch) else { panic!("let in") };
    assert_eq!((close.code(), close.reason()), (4400, "message must be a JSON object"));
}

#[test]
fn nul_and_other_control_characters() {
    for character in ["\0", "\u{1}", "\u{7f}", "\u{200b}"] {
        for text in [
            format!("subscription {{ a{character} {{ b }} }}"),
            format!("{character}subscription {{ a {{ b }} }}"),
        ] {
            refused(&text, "GRAPHQL_PARSE_FAILED", "");
        }
    }
}

#[test]
fn lone_surrogates_in_a_document() {
    for escape in [r"\ud800", r"\udfff", r"\ud800\ud800", r"\u{d800}", r"\u{110000}", r"\udc00\ud800"] {
        refused(&format!(r#"subscription {{ a(l: "{escape}") {{ b }} }}"#), "GRAPHQL_PARSE_FAILED", "");
    }
}

#[test]
fn a_byte_order_mark() {
    accepted("\u{feff}subscription { a { b } }");
    accepted("subscription {\u{feff} a { b } }");
    refused("subscription { \u{fffe} a { b } }", "GRAPHQL_PARSE_FAILED", "");
}

#[test]
fn nothing_at_all() {
    for text in ["", " ", ",,,", "#", "\u{feff}"] {
        for engine in engines() {
            let told = told(&engine, request("s", text));
            assert_eq!(told.len(), 1, "{text:?}: {told:?}");
        }
    }
}
