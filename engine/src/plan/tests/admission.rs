//! Which documents are let in, and what those that are not are told.

use crate::{
    error::GraphQlError,
    limits::Limits,
    plan::{Admission, DocumentDigest, Introspection, InvalidDigest, OperationName, Plans, Schema},
};

const SCHEMA: &str = "type Query { a: T } type Subscription { a: T } type T { a: T b: Int }";

fn refusals(plans: &Plans, text: &str) -> Vec<GraphQlError> {
    plans.plan(text, &OperationName::Label("S".into())).map_or_else(|errors| errors, |_| Vec::new())
}

fn codes(plans: &Plans, text: &str) -> Vec<&'static str> {
    refusals(plans, text).iter().map(|error| error.code).collect()
}

fn plans(schema: Option<&str>, admission: Admission) -> Plans {
    Plans::new(schema.map(|text| Schema::parse(text).unwrap()), &Limits::default()).admitting(admission)
}

fn closed() -> Admission {
    Admission { introspection: Introspection::Refused, ..Admission::default() }
}

#[test]
fn a_question_about_the_schema_is_refused_wherever_it_stands() {
    for schema in [None, Some(SCHEMA)] {
        let plans = plans(schema, closed());
        for text in [
            "subscription { __schema { types { name } } }",
            "subscription { __type(name: \"T\") { name } }",
            "subscription { a { __schema { types { name } } } }",
            "subscription { a { ... { x: __type(name: \"T\") { name } } } }",
            "subscription { a { ...F } } fragment F on T { __schema { types { name } } }",
            "subscription S { a { b } } query Q { __schema { types { name } } }",
            "subscription { a { ...F } } fragment F on T { b } fragment G on Query { __schema { types { name } } }",
        ] {
            assert_eq!(codes(&plans, text), ["INTROSPECTION_DISABLED"], "{text}");
        }
        for text in ["subscription { a { __typename b } }", "subscription { a { __schema: b } }"] {
            assert_eq!(codes(&plans, text), [""; 0], "{text}");
        }
    }
}

#[test]
fn each_question_is_named_with_its_place() {
    let found = refusals(&plans(None, closed()), "subscription {\n  a { __schema { b } __type { b } } }");
    let told: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "`__schema` asks for the schema, and introspection is off (line 2, column 7)",
            "`__type` asks for the schema, and introspection is off (line 2, column 22)",
        ]
    );
}

#[test]
fn introspection_is_allowed_by_default_where_the_schema_allows_it() {
    let text = "subscription S { a { b } } query Q { __schema { types { name } } }";
    assert_eq!(codes(&plans(Some(SCHEMA), Admission::default()), text), [""; 0]);
}

/// A near miss tells no name that was not asked for; the library could, in another of its wordings.
#[test]
fn no_field_is_suggested() {
    let schema =
        "type Query { a: T } type Subscription { account(number: Int): T } type T { secretName: Int }";
    for admission in [Admission::default(), closed()] {
        let plans = plans(Some(schema), admission);
        for text in [
            "subscription { account }",
            "subscription { acount { secretName } }",
            "subscription { account { secretNam } }",
            "subscription { account(numbr: 1) { secretName } }",
            "subscription { account { ... on TT { secretName } } }",
            "subscription { account { secretName @skp(if: true) } }",
        ] {
            let told = refusals(&plans, text);
            assert!(!told.is_empty(), "{text}");
            for GraphQlError { message, .. } in told {
                assert!(!message.contains("Did you mean"), "{message}");
                for name in ["account", "secretName", "number"] {
                    assert!(text.contains(name) || !message.contains(name), "{text}: {message}");
                }
            }
        }
    }
}

#[test]
fn only_allowed_documents_are_read() {
    let text = "subscription { a { b } }";
    let admission = |digests: &[DocumentDigest]| Admission {
        operations: Some(digests.iter().copied().collect()),
        ..closed()
    };
    let nothing = plans(None, admission(&[]));
    let plans = plans(None, admission(&[DocumentDigest::of(text)]));
    for _ in 0..2 {
        assert_eq!(codes(&plans, text), [""; 0]);
        for other in
            ["subscription { a { b }  }", "subscription { a { c } }", "}", "", "subscription { __schema }"]
        {
            assert_eq!(codes(&plans, other), ["OPERATION_NOT_ALLOWED"], "{other}");
        }
    }
    assert_eq!(codes(&plans, &" ".repeat(1 << 20)), ["LIMIT_EXCEEDED"], "it is not even hashed");
    assert_eq!(codes(&nothing, text), ["OPERATION_NOT_ALLOWED"]);
}

#[test]
fn an_allowed_document_keeps_the_rules_all_the_same() {
    let text = "subscription { a { __schema { b } } }";
    let operations = Some([DocumentDigest::of(text)].into());
    assert_eq!(codes(&plans(None, Admission { operations, ..closed() }), text), ["INTROSPECTION_DISABLED"]);
}

/// FIPS 180-4's own examples.
#[test]
fn a_digest_is_the_sha_256_of_the_bytes() {
    for (text, digest) in [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ] {
        assert_eq!(DocumentDigest::of(text).to_string(), digest);
        assert_eq!(digest.parse(), Ok(DocumentDigest::of(text)));
        assert_eq!(digest.to_uppercase().parse(), Ok(DocumentDigest::of(text)));
        for wrong in [&digest[1..], &format!("{digest}0"), &digest.replace('b', "g"), ""] {
            assert_eq!(wrong.parse::<DocumentDigest>(), Err(InvalidDigest), "{wrong}");
        }
    }
}

#[test]
fn the_same_error_at_several_places_is_told_once() {
    for schema in [None, Some(SCHEMA)] {
        let plans = plans(schema, Admission::default());
        let errors = refusals(&plans, "subscription { a @x @y @x { b @x @x } }");
        let columns = |error: &GraphQlError| error.locations.iter().map(|at| at.column).collect::<Vec<_>>();
        assert_eq!(
            errors.iter().map(columns).collect::<Vec<_>>(),
            [&[18, 24, 31, 34][..], &[21]],
            "{errors:?}"
        );
        let text = "query { a @x @x { b } }";
        assert_eq!(plans.kind(text, &OperationName::Only).unwrap_err().len(), 1, "{text}");
    }
}
