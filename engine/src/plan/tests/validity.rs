//! Documents that keep or break the rules, with and without a schema; the table is `validity.txt`.

use crate::{
    error::GraphQlError,
    limits::Limits,
    plan::{OperationName, Plan, Schema, validate},
};

const TABLE: &str = include_str!("validity.txt");
const SDL: &str = include_str!("validity.graphql");

fn check(text: &str, schema: Option<&Schema>) -> Vec<GraphQlError> {
    validate(text, schema, None, None, &Limits::default())
}

/// Whether the cell says that the document is valid, and the rest of the line.
fn cell(line: &str) -> (bool, &str) {
    match line.split_once(' ') {
        Some(("yes", rest)) => (true, rest.trim_start()),
        Some(("no", rest)) => (false, rest.trim_start()),
        _ => panic!("neither `yes` nor `no`: {line}"),
    }
}

#[test]
fn every_document_of_the_table_is_judged_as_it_says() {
    let schema = Schema::parse(SDL).unwrap();
    let rows: Vec<_> = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(rows.len() >= 300, "{} rows", rows.len());
    for row in rows {
        let (with, rest) = cell(row);
        let (without, text) = cell(rest);
        let text = text.trim_start_matches("! ");
        for (expected, schema) in [(with, Some(&schema)), (without, None)] {
            let errors = check(text, schema);
            assert_eq!(errors.is_empty(), expected, "{text} with schema: {}: {errors:?}", schema.is_some());
        }
    }
}

#[test]
fn without_a_schema_only_its_directives_make_a_valid_document_unknown() {
    for row in TABLE.lines().filter(|line| line.starts_with("yes no")) {
        assert!(row.contains("@on") || row.contains("@re"), "only directives of the schema: {row}");
    }
}

#[test]
fn text_that_no_keyboard_writes_is_read_or_refused() {
    for (text, valid) in [
        ("\u{feff}{ a }", true),
        ("{ a\r\n\t b: a }", true),
        ("{ a }\0", false),
        ("{ a\u{2028}}", false),
        ("", false),
        ("# only a comment", false),
    ] {
        assert_eq!(check(text, None).is_empty(), valid, "{text:?}");
    }
}

#[test]
fn incremental_delivery_is_refused() {
    let sdl = format!("{SDL} directive @defer(if: Boolean) on FIELD | INLINE_FRAGMENT");
    let schema = Schema::parse(&sdl).unwrap();
    for text in ["subscription { dog { ... @defer(if: true) { name } } }", "subscription { ns @stream }"] {
        for schema in [None, Some(&schema)] {
            let errors = check(text, schema);
            assert!(errors.iter().any(|error| error.message.ends_with("is not supported")), "{errors:?}");
        }
    }
}

#[test]
fn every_error_is_reported_with_its_place() {
    let text = "subscription ($unused: Int) {\n  dog { ...F  k: name  k: nickname  a @skip(if: $x) }\n}\n\
                fragment F on Dog { ...F }  fragment G on Dog { name }";
    let errors = check(text, None);
    let found: Vec<_> = errors.iter().map(|error| (&*error.message, error.locations[0].line)).collect();
    assert_eq!(
        found,
        [
            ("fragment `F` uses itself", 4),
            ("fragment `G` is never used", 4),
            ("variable `$unused` is never used", 1),
            ("variable `$x` is not defined", 2),
        ]
    );
    let text = text.replacen("...F", "", 1).replace("...F }", "name }");
    let errors = check(&text, None);
    assert!(errors.iter().any(|error| error.message.starts_with("fields under `k` conflict")), "{errors:?}");
}

#[test]
fn each_stage_has_its_code() {
    let schema = Schema::parse(SDL).unwrap();
    for (text, code) in [
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("subscription { n k: n }", "GRAPHQL_VALIDATION_FAILED"),
        ("query { a }", "OPERATION_RESOLUTION_FAILURE"),
    ] {
        for schema in [None, Some(&schema)] {
            let errors = Plan::compile(text, &OperationName::Only, schema, &Limits::default()).unwrap_err();
            assert_eq!(errors[0].code, code, "{text}");
        }
    }
}

#[test]
fn validation_looks_at_the_operation_and_the_variables_if_given() {
    let text = "query A($v: Int!) { a(v: $v) } query B { a }";
    let check = |name, variables: Option<&str>| {
        let variables = variables.map(super::value);
        let errors = validate(text, None, name, variables.as_ref(), &Limits::default());
        errors.first().map(|error| error.code)
    };
    assert_eq!(check(None, None), None);
    assert_eq!(check(Some("A"), None), None);
    assert_eq!(check(Some("C"), None), Some("OPERATION_RESOLUTION_FAILURE"));
    assert_eq!(check(Some("A"), Some("{}")), Some("BAD_USER_INPUT"));
    assert_eq!(check(Some("A"), Some(r#"{"v":1}"#)), None);
    assert_eq!(check(Some("B"), Some("{}")), None);
    assert_eq!(check(None, Some("{}")), Some("OPERATION_RESOLUTION_FAILURE"));
}

#[test]
fn one_of_is_known_whether_the_schema_defines_it_or_not() {
    let sdl = "type Query { a(o: O): Int } input O @oneOf { x: Int y: Int }";
    for sdl in [sdl.to_owned(), format!("directive @oneOf on INPUT_OBJECT {sdl}")] {
        let schema = Schema::parse(&sdl).unwrap();
        assert!(check("{ a(o: {x: 1}) }", Some(&schema)).is_empty());
        assert!(!check("{ a(o: {x: 1, y: 2}) }", Some(&schema)).is_empty());
        for (given, fits) in
            [(r#"{"o":{"x":1}}"#, true), (r#"{"o":{"x":1,"y":2}}"#, false), (r#"{"o":{"x":null}}"#, false)]
        {
            let (text, given) = ("query ($o: O) { a(o: $o) }", super::value(given));
            let errors = validate(text, Some(&schema), None, Some(&given), &Limits::default());
            assert_eq!(errors.is_empty(), fits, "{errors:?}");
        }
    }
    assert!(Schema::parse("type Query { a: Nope }").is_err());
    assert!(Schema::parse("type Query {").is_err());
}
