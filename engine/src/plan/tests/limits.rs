//! Every bound of a document at one below it, at it, and one above it; and documents made to cost.

use std::fmt::Write;

use super::{plan, value};
use crate::{
    limits::Limits,
    plan::{OperationName, Plan, Schema},
};

/// Compiles with and without a schema: the name of the limit that both meet, or what else is wrong.
fn met(text: &str, limits: &Limits) -> Result<(), String> {
    let schema =
        Schema::parse("type Query { a: T } type Subscription { a(l: [Int]): T } type T { a: T b: Int }");
    let compile = |schema| {
        Plan::compile(text, &OperationName::Only, schema, limits)
            .map(drop)
            .map_err(|errors| format!("{} {}", errors[0].code, errors[0].message))
    };
    let (without, with) = (compile(None), compile(Some(&schema.unwrap())));
    assert_eq!(without, with, "{text}");
    without
}

fn refused(name: &str, found: &Result<(), String>) -> bool {
    match found {
        Ok(()) => false,
        Err(message) => {
            assert!(message.starts_with(&format!("LIMIT_EXCEEDED `{name}`")), "{message}");
            true
        }
    }
}

fn nested(depth: usize) -> String {
    let inner = (1..depth).fold("b".to_owned(), |inner, _| format!("a {{ {inner} }}"));
    format!("subscription {{ {inner} }}")
}

#[test]
fn a_document_may_reach_its_bounds_and_not_pass_them() {
    let text = "subscription { a { a { b c: b ...F } ...F } } \
        fragment F on T { d: b @skip(if: false) a { e: b @skip(if: false) @include(if: true) } }";
    let (bytes, depth, fields, aliases, directives) = (text.len(), 4, 10, 5, 6);
    for (name, size, limits) in [
        (
            "query_bytes_max",
            bytes,
            (|max| Limits { query_bytes_max: max, ..Limits::default() }) as fn(_) -> _,
        ),
        ("query_depth_max", depth, |max| Limits { query_depth_max: max, ..Limits::default() }),
        ("query_fields_max", fields, |max| Limits { query_fields_max: max, ..Limits::default() }),
        ("query_aliases_max", aliases, |max| Limits { query_aliases_max: max, ..Limits::default() }),
        ("query_directives_max", directives, |max| Limits { query_directives_max: max, ..Limits::default() }),
    ] {
        assert!(refused(name, &met(text, &limits(size - 1))), "{name}: one above the bound");
        assert!(!refused(name, &met(text, &limits(size))), "{name}: at the bound");
        assert!(!refused(name, &met(text, &limits(size + 1))), "{name}: one below the bound");
    }
}

#[test]
fn tokens_are_bounded() {
    let text = "subscription { a { b } }";
    let tokens = |max| Limits { query_tokens_max: max, ..Limits::default() };
    let exact = (1..40).find(|max| met(text, &tokens(*max)).is_ok()).unwrap();
    assert!(refused("query_tokens_max", &met(text, &tokens(exact - 1))));
    assert!(met(text, &tokens(exact + 1)).is_ok());
}

#[test]
fn the_defaults_refuse_one_level_more_than_they_allow() {
    let limits = Limits::default();
    assert!(met(&nested(limits.query_depth_max), &limits).is_ok());
    assert!(refused("query_depth_max", &met(&nested(limits.query_depth_max + 1), &limits)));
}

#[test]
fn variables_are_bounded_in_bytes() {
    let given = value(r#"{"v":"abc"}"#);
    let bytes = given.to_string().len();
    for text in ["subscription ($v: String) { a(v: $v) }", "subscription { a }"] {
        for (max, fits) in [(bytes - 1, false), (bytes, true), (bytes + 1, true)] {
            let limits = Limits { variables_bytes_max: max, ..Limits::default() };
            assert_eq!(plan(text, None).bind(&given, &limits).is_ok(), fits, "{text}: {max}");
        }
    }
}

/// A document that is large in one way only.
fn unbounded() -> Limits {
    Limits {
        query_bytes_max: 8 << 20,
        query_tokens_max: 1 << 21,
        query_depth_max: 100_000,
        query_fields_max: 1 << 20,
        query_aliases_max: 1 << 20,
        query_directives_max: 1 << 20,
        ..Limits::default()
    }
}

#[test]
fn bounds_that_are_no_settings_say_what_is_nested() {
    let limits = unbounded();
    let deep_value =
        |levels| format!("subscription {{ a(l: {}{}) {{ b }} }}", "[".repeat(levels), "]".repeat(levels));
    let inline =
        |levels| format!("subscription {{ a {{ {} b {} }} }}", "... {".repeat(levels), "}".repeat(levels));
    for text in [deep_value(10_000), inline(10_000), nested(10_000), "{a".repeat(100_000)] {
        let found = met(&text, &limits).unwrap_err();
        assert_eq!(found, "LIMIT_EXCEEDED selection sets and values are nested deeper than 200 levels");
    }
    assert!(met(&inline(150), &limits).is_ok());
    assert_eq!(met(&chain(90), &limits), Ok(()));
    let found = met(&chain(91), &limits).unwrap_err();
    assert_eq!(found, "LIMIT_EXCEEDED fragments are nested deeper than 90 levels");
    assert!(met(&chain(5_000), &limits).unwrap_err().starts_with("LIMIT_EXCEEDED "));
}

/// Fragments that use one another in a chain.
fn chain(length: usize) -> String {
    let mut text = format!("subscription {{ a {{ ...F1 }} }} fragment F{length} on T {{ b }}");
    for at in 1..length {
        write!(text, " fragment F{at} on T {{ ...F{} }}", at + 1).unwrap();
    }
    text
}

#[test]
fn fragments_that_double_are_counted_at_each_use() {
    for last in ["b", "...F0"] {
        let mut bomb = format!("subscription {{ a {{ ...F0 }} }} fragment F40 on T {{ {last} }}");
        for at in 0..40 {
            write!(bomb, " fragment F{at} on T {{ ...F{n} ...F{n} }}", n = at + 1).unwrap();
        }
        assert!(refused("query_fields_max", &met(&bomb, &unbounded())), "{last}");
    }
}

/// Which of two fragments with one name the library follows is not ours to know.
#[test]
fn a_bomb_does_not_hide_behind_a_second_fragment_of_its_name() {
    for bomb_first in [true, false] {
        let mut text = "subscription { a { ...F0 } }".to_owned();
        for at in 0..40 {
            let bomb = format!(" fragment F{at} on T {{ ...F{n} ...F{n} }}", n = at + 1);
            let calm = format!(" fragment F{at} on T {{ b }}");
            text += &if bomb_first { bomb + &calm } else { calm + &bomb };
        }
        text += " fragment F40 on T { b }";
        assert!(refused("query_fields_max", &met(&text, &unbounded())), "{text}");
    }
}

#[test]
fn directives_that_no_walk_follows_are_counted() {
    let limits = Limits { query_directives_max: 2, ..Limits::default() };
    for text in [
        "subscription @a @a @a { a { b } }",
        "subscription ($v: Int @a @a @a) { a(l: [$v]) { b } }",
        "subscription { a { ...F } } fragment F on T @a @a @a { b }",
        "subscription { a { ... @a @a @a { b } } }",
        "subscription { a { ...F @a @a @a } } fragment F on T { b }",
    ] {
        assert!(refused("query_directives_max", &met(text, &limits)), "{text}");
    }
}

#[test]
fn variants_of_a_selection_do_not_multiply_without_bound() {
    let level = |inner: &str| {
        let mut text = String::from("{");
        for name in ["A", "B", "C", "D"] {
            write!(text, " ... on {name} {{ x {inner} }}").unwrap();
        }
        text + " }"
    };
    let text = format!("subscription {{ a {} }}", level(&level(&level("{ y }"))));
    let plan = Plan::compile(&text, &OperationName::Only, None, &unbounded()).unwrap();
    let limits = Limits { query_fields_max: 10, ..Limits::default() };
    let errors = plan.bind(&value("{}"), &limits).err().unwrap();
    assert_eq!(errors[0].code, "LIMIT_EXCEEDED");
}
