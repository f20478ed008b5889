//! What events give under selections, with and without a schema.

use super::{bound, render};
use crate::{
    plan::{Projection, RenderError, Schema},
    value::Document,
};

const SDL: &str = r#"
    type Query { a: Int }
    type Subscription {
        user: User  users: [User!]  grid: [[User]]  node: Node  pet: Pet  ids: [ID!]!
        strict: Strict  strictest: Strict!  scalars: Scalars
    }
    interface Node { id: ID  owner: Node }
    type User implements Node { id: ID  owner: User  name: String  tags: [String]  friends: [User!]! }
    type Robot implements Node { id: ID!  owner: User!  name: String  volts: Float }
    type Dog { bark: String  name: String }
    type Cat { meow: String  name: String }
    union Pet = Dog | Cat
    type Strict { must: String!  list: [String!]  lists: [[String!]!]  inner: Strict  strict: Strict!  may: Int }
    type Scalars { i: Int  f: Float  s: String  b: Boolean  id: ID  e: Color  any: Any }
    enum Color { RED GREEN }
    scalar Any
"#;

fn schema() -> Schema {
    Schema::parse(SDL).unwrap()
}

/// One row: a selection of the root field `field`, an event, and the `data` of that field.
fn with(schema: Option<&Schema>, rows: &[(&str, &str, &str, &str)]) {
    for (field, selection, event, expected) in rows {
        let (selection, fragments) = selection.split_once(" fragment ").unwrap_or((selection, ""));
        let fragments = if fragments.is_empty() { String::new() } else { format!("fragment {fragments}") };
        let text = format!("subscription {{ {field} {selection} }} {fragments}");
        let expected = format!(r#"{{"data":{{"{field}":{expected}}}}}"#);
        assert_eq!(render(&text, schema, "{}", event), expected, "{text} over {event}");
    }
}

#[test]
fn fields_are_copied_alike_with_and_without_a_schema() {
    let rows = [
        ("user", "{ name }", r#"{"name":"Ann","id":"1"}"#, r#"{"name":"Ann"}"#),
        ("user", "{ name id }", r#"{"id":"1","name":"Ann"}"#, r#"{"name":"Ann","id":"1"}"#),
        ("user", "{ a: name b: name }", r#"{"name":"Ann"}"#, r#"{"a":"Ann","b":"Ann"}"#),
        ("user", "{ name name }", r#"{"name":"Ann"}"#, r#"{"name":"Ann"}"#),
        ("user", "{ name id }", "{}", r#"{"name":null,"id":null}"#),
        ("user", "{ name }", r#"{"name":null}"#, r#"{"name":null}"#),
        ("user", "{ name }", "null", "null"),
        ("user", "{ tags }", r#"{"tags":["a",null]}"#, r#"{"tags":["a",null]}"#),
        ("user", "{ tags }", r#"{"tags":[]}"#, r#"{"tags":[]}"#),
        ("user", "{ owner { name } }", r#"{"owner":{"name":"B"}}"#, r#"{"owner":{"name":"B"}}"#),
        ("user", "{ owner { name } }", r#"{"owner":null}"#, r#"{"owner":null}"#),
        (
            "user",
            "{ owner { name } owner { id } }",
            r#"{"owner":{}}"#,
            r#"{"owner":{"name":null,"id":null}}"#,
        ),
        (
            "user",
            "{ friends { name } }",
            r#"{"friends":[{"name":"B"},{}]}"#,
            r#"{"friends":[{"name":"B"},{"name":null}]}"#,
        ),
        (
            "user",
            "{ name }",
            r#"{"name":"q\" \\ \n \u00e9 \ud83d\ude00"}"#,
            r#"{"name":"q\" \\ \n \u00e9 \ud83d\ude00"}"#,
        ),
        ("user", "{ name }", r#"{"n\u0061me":"Ann"}"#, r#"{"name":"Ann"}"#),
        ("users", "{ name }", r#"[{"name":"A"},{"name":"B"}]"#, r#"[{"name":"A"},{"name":"B"}]"#),
        ("users", "{ name }", "[]", "[]"),
        (
            "grid",
            "{ name }",
            r#"[[{"name":"A"}],null,[null,{}]]"#,
            r#"[[{"name":"A"}],null,[null,{"name":null}]]"#,
        ),
        ("ids", "", r#"["a","b"]"#, r#"["a","b"]"#),
        (
            "user",
            "{ ...F } fragment F on User { name ...G } fragment G on User { id }",
            r#"{"name":"A","id":"1","__typename":"User"}"#,
            r#"{"name":"A","id":"1"}"#,
        ),
        ("user", "{ ... { name } }", r#"{"name":"A"}"#, r#"{"name":"A"}"#),
        (
            "user",
            "{ ... on User { owner { id } } owner { name } }",
            r#"{"owner":{"id":"1","name":"A"}}"#,
            r#"{"owner":{"id":"1","name":"A"}}"#,
        ),
        (
            "user",
            "{ t: __typename name }",
            r#"{"__typename":"User","name":"A"}"#,
            r#"{"t":"User","name":"A"}"#,
        ),
        (
            "pet",
            "{ __typename ... on Dog { bark } ... on Cat { meow } }",
            r#"{"__typename":"Cat","meow":"m","bark":"b"}"#,
            r#"{"__typename":"Cat","meow":"m"}"#,
        ),
        (
            "pet",
            "{ ... on Dog { bark name } ... on Cat { name meow } }",
            r#"{"bark":"b","meow":"m","name":"n","__typename":"Dog"}"#,
            r#"{"bark":"b","name":"n"}"#,
        ),
        ("pet", "{ ... on Dog { bark } }", r#"{"__typename":"Cat","meow":"m"}"#, "{}"),
        ("node", "{ id ... on Robot { volts } }", r#"{"__typename":"User","id":"1"}"#, r#"{"id":"1"}"#),
        (
            "node",
            "{ ... on User { name } id ... on Robot { name } }",
            r#"{"__typename":"Robot","id":"1","name":"R","owner":{}}"#,
            r#"{"id":"1","name":"R"}"#,
        ),
        ("scalars", "{ any }", r#"{"any":{"a":[1,2.50]}}"#, r#"{"any":{"a":[1,2.50]}}"#),
        (
            "scalars",
            "{ any f }",
            r#"{"any":123456789012345678901234567890,"f":123456789012345678901234567890}"#,
            r#"{"any":123456789012345678901234567890,"f":123456789012345678901234567890}"#,
        ),
        (
            "scalars",
            "{ f i s b e id }",
            r#"{"f":1.50e3,"i":-7,"s":"","b":false,"e":"RED","id":"x"}"#,
            r#"{"f":1.50e3,"i":-7,"s":"","b":false,"e":"RED","id":"x"}"#,
        ),
    ];
    with(None, &rows);
    with(Some(&schema()), &rows);
}

#[test]
fn without_a_schema_the_document_is_what_it_says() {
    with(
        None,
        &[
            ("user", "{ owner }", r#"{"owner":{"x":[1, 2]}}"#, r#"{"owner":{"x":[1, 2]}}"#),
            (
                "user",
                "{ owner { x } }",
                r#"{"owner":[{"x":1},[{"x":2}]]}"#,
                r#"{"owner":[{"x":1},[{"x":2}]]}"#,
            ),
            (
                "user",
                "{ ... on User { name } ... on Robot { volts } }",
                r#"{"name":"A"}"#,
                r#"{"name":"A","volts":null}"#,
            ),
            ("user", "{ id ... on Robot { volts } }", r#"{"__typename":"User","id":"1"}"#, r#"{"id":"1"}"#),
            (
                "user",
                "{ ... on Node { ... on User { id } } }",
                r#"{"__typename":"User","id":"1"}"#,
                r#"{"id":"1"}"#,
            ),
            ("user", "{ ... on Robot { ... on User { id } } }", r#"{"__typename":"Robot","id":"1"}"#, "{}"),
            ("user", "{ id }", r#"{"id":7}"#, r#"{"id":7}"#),
        ],
    );
}

#[test]
fn a_schema_says_what_the_document_leaves_out() {
    with(
        Some(&schema()),
        &[
            ("user", "{ __typename }", "{}", r#"{"__typename":"User"}"#),
            ("user", "{ __typename }", r#"{"__typename":"Nonsense"}"#, r#"{"__typename":"User"}"#),
            ("user", "{ ... on Node { id } }", "{}", r#"{"id":null}"#),
            ("user", "{ id }", r#"{"id":7}"#, r#"{"id":"7"}"#),
            ("user", "{ id }", r#"{"id":123456789012345678901}"#, r#"{"id":"123456789012345678901"}"#),
            ("node", "{ id }", r#"{"id":7}"#, r#"{"id":"7"}"#),
            ("node", "{ ... on Node { id } }", r#"{"__typename":"Robot","id":"1"}"#, r#"{"id":"1"}"#),
            (
                "pet",
                "{ ... on Pet { ... on Dog { bark } } }",
                r#"{"__typename":"Dog","bark":"b"}"#,
                r#"{"bark":"b"}"#,
            ),
        ],
    );
}

#[test]
fn directives_decide_with_variables_and_constants() {
    let text = "subscription ($v: Boolean!, $w: Boolean = true) { user {
        a @skip(if: $v) b @include(if: $v) c @include(if: $w) @skip(if: $v)
        ... @include(if: $v) { d } ...F @skip(if: $v) e @skip(if: true) f @include(if: true)
    } } fragment F on User { g }";
    let event = r#"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7}"#;
    for (variables, expected) in [
        (r#"{"v":true}"#, r#"{"b":2,"d":4,"f":6}"#),
        (r#"{"v":false}"#, r#"{"a":1,"c":3,"g":7,"f":6}"#),
        (r#"{"v":false,"w":false}"#, r#"{"a":1,"g":7,"f":6}"#),
    ] {
        let expected = format!(r#"{{"data":{{"user":{expected}}}}}"#);
        assert_eq!(render(text, None, variables, event), expected, "{variables}");
    }
}

/// One row: root field with selection, event, the data, and each error's path and message.
#[test]
fn a_field_that_fails_is_null_with_an_error_at_its_path() {
    let int = "a 32-bit integer expected";
    let missing = "a value that may not be null is missing";
    let unknown = "the type is not known: put `__typename` into the event, or give a schema";
    let impossible = "`__typename` is not one of the types that the schema allows here";
    let rows: &[(&str, &str, &str, &[(&str, &str)])] = &[
        (
            "scalars { i f }",
            r#"{"i":"7","f":1}"#,
            r#"{"scalars":{"i":null,"f":1}}"#,
            &[(r#""scalars","i""#, int)],
        ),
        ("scalars { i }", r#"{"i":2147483648}"#, r#"{"scalars":{"i":null}}"#, &[(r#""scalars","i""#, int)]),
        ("scalars { i }", r#"{"i":1.0}"#, r#"{"scalars":{"i":null}}"#, &[(r#""scalars","i""#, int)]),
        (
            "scalars { f }",
            r#"{"f":"1"}"#,
            r#"{"scalars":{"f":null}}"#,
            &[(r#""scalars","f""#, "a number expected")],
        ),
        (
            "scalars { s }",
            r#"{"s":1}"#,
            r#"{"scalars":{"s":null}}"#,
            &[(r#""scalars","s""#, "a string expected")],
        ),
        (
            "scalars { s }",
            r#"{"s":{"a":1}}"#,
            r#"{"scalars":{"s":null}}"#,
            &[(r#""scalars","s""#, "a string expected")],
        ),
        (
            "scalars { b }",
            r#"{"b":0}"#,
            r#"{"scalars":{"b":null}}"#,
            &[(r#""scalars","b""#, "a boolean expected")],
        ),
        (
            "scalars { id }",
            r#"{"id":1.5}"#,
            r#"{"scalars":{"id":null}}"#,
            &[(r#""scalars","id""#, "a string or an integer expected")],
        ),
        (
            "scalars { e }",
            r#"{"e":"BLUE"}"#,
            r#"{"scalars":{"e":null}}"#,
            &[(r#""scalars","e""#, "a value of the enum expected")],
        ),
        (
            "user { owner { id } }",
            r#"{"owner":"x"}"#,
            r#"{"user":{"owner":null}}"#,
            &[(r#""user","owner""#, "an object expected")],
        ),
        (
            "user { tags }",
            r#"{"tags":"x"}"#,
            r#"{"user":{"tags":null}}"#,
            &[(r#""user","tags""#, "a list expected")],
        ),
        (
            "user { owner { id } }",
            r#"{"owner":[{}]}"#,
            r#"{"user":{"owner":null}}"#,
            &[(r#""user","owner""#, "an object expected")],
        ),
        ("users { name }", r#"{"name":"A"}"#, r#"{"users":null}"#, &[(r#""users""#, "a list expected")]),
        ("users { name }", r#"[{}, null]"#, r#"{"users":null}"#, &[(r#""users",1"#, missing)]),
        ("ids", "null", "null", &[(r#""ids""#, missing)]),
        ("k: strict { m: must }", "{}", r#"{"k":null}"#, &[(r#""k","m""#, missing)]),
        ("strictest { must }", "{}", "null", &[(r#""strictest","must""#, missing)]),
        (
            "strictest { inner { must } may }",
            r#"{"inner":{},"may":1}"#,
            r#"{"strictest":{"inner":null,"may":1}}"#,
            &[(r#""strictest","inner","must""#, missing)],
        ),
        (
            "strict { may strict { strict { must } } }",
            r#"{"may":"x","strict":{"strict":{}}}"#,
            r#"{"strict":null}"#,
            &[(r#""strict","may""#, int), (r#""strict","strict","strict","must""#, missing)],
        ),
        (
            "strict { list may }",
            r#"{"list":["a",null],"may":2}"#,
            r#"{"strict":{"list":null,"may":2}}"#,
            &[(r#""strict","list",1"#, missing)],
        ),
        (
            "strict { lists }",
            r#"{"lists":[["a"],["b",1]]}"#,
            r#"{"strict":{"lists":null}}"#,
            &[(r#""strict","lists",1,1"#, "a string expected")],
        ),
        (
            "user { friends { id } }",
            r#"{"friends":[{"id":true},{"id":"1"}]}"#,
            r#"{"user":{"friends":[{"id":null},{"id":"1"}]}}"#,
            &[(r#""user","friends",0,"id""#, "a string or an integer expected")],
        ),
        ("pet { ... on Dog { bark } }", r#"{"bark":"b"}"#, r#"{"pet":null}"#, &[(r#""pet""#, unknown)]),
        ("pet { __typename }", "{}", r#"{"pet":null}"#, &[(r#""pet","__typename""#, unknown)]),
        (
            "pet { __typename }",
            r#"{"__typename":"User"}"#,
            r#"{"pet":null}"#,
            &[(r#""pet","__typename""#, impossible)],
        ),
        (
            "pet { ... on Dog { bark } }",
            r#"{"__typename":"User"}"#,
            r#"{"pet":null}"#,
            &[(r#""pet""#, impossible)],
        ),
        // Robots must have an id and an owner, though not every node must.
        ("node { id }", r#"{"__typename":"Robot"}"#, r#"{"node":null}"#, &[(r#""node","id""#, missing)]),
        (
            "node { ... { owner { id } } }",
            r#"{"__typename":"Robot"}"#,
            r#"{"node":null}"#,
            &[(r#""node","owner""#, missing)],
        ),
    ];
    let schema = schema();
    for (selection, event, data, errors) in rows {
        let text = format!("subscription {{ {selection} }}");
        let errors: Vec<_> = errors
            .iter()
            .map(|(path, message)| format!(r#"{{"message":"{message}","path":[{path}]}}"#))
            .collect();
        let expected = format!(r#"{{"data":{data},"errors":[{}]}}"#, errors.join(","));
        assert_eq!(render(&text, Some(&schema), "{}", event), expected, "{text} over {event}");
    }
}

#[test]
fn without_a_schema_an_unknown_type_leaves_the_other_fields() {
    let body = render("subscription { user { __typename id } }", None, "{}", r#"{"id":1}"#);
    assert!(body.starts_with(r#"{"data":{"user":{"__typename":null,"id":1}},"errors":[{"#), "{body}");
}

#[test]
fn a_body_has_at_most_the_bytes_it_may() {
    let aliases: String = (0..200).map(|at| format!("a{at}:name ")).collect();
    let text = format!("subscription {{ user {{ {aliases} }} }}");
    let event = Document::parse(format!(r#"{{"name":"{}"}}"#, "x".repeat(10_000)), 64).unwrap();
    let projection = bound(&text, None, "{}").projection;
    let render = |max: usize, out: &mut Vec<u8>| projection.render(event.root(), out, max);
    let mut whole = Vec::new();
    render(usize::MAX, &mut whole).unwrap();
    for (max, expected) in [
        (whole.len(), Ok(())),
        (whole.len() + 1, Ok(())),
        (whole.len() - 1, Err(RenderError::TooLarge(whole.len() - 1))),
    ] {
        assert_eq!(render(max, &mut Vec::new()), expected);
    }
    let mut small = Vec::new();
    render(25_000, &mut small).unwrap_err();
    assert!(small.len() < 50_000, "the work stops soon after the bound, not at {}", small.len());
}

#[test]
fn errors_count_as_bytes_of_the_body() {
    let schema = schema();
    let projection = bound("subscription { grid { name } }", Some(&schema), "{}").projection;
    let event = Document::parse(format!("[{}1]", "1,".repeat(100_000)), 64).unwrap();
    assert_eq!(projection.render(event.root(), &mut Vec::new(), 10_000), Err(RenderError::TooLarge(10_000)));
}

#[test]
fn a_resolver_may_answer_in_the_shape_of_the_query() {
    let projection = bound("subscription { k: user { name } }", None, "{}").projection;
    for (result, expected) in [
        (r#"{"user":{"name":1}}"#, r#"{"name":1}"#),
        (r#"{"k":{"name":1}}"#, r#"{"name":1}"#),
        (r#"{"\u006b":null}"#, "null"),
        (r#"{"name":1}"#, r#"{"name":1}"#),
        (r#"{"user":1,"k":2}"#, r#"{"user":1,"k":2}"#),
        ("{}", "{}"),
        ("[1]", "[1]"),
        ("null", "null"),
    ] {
        let result = Document::parse(result, 64).unwrap();
        assert_eq!(projection.root_value(result.root()).raw(), expected);
    }
}

#[test]
fn a_deep_selection_compiles_to_as_many_fields_as_it_has() {
    fn count(object: &str, times: usize) -> String {
        (0..times).fold(object.to_owned(), |inner, _| format!("{{ owner {inner} }}"))
    }
    let text = format!("subscription {{ user {} }}", count("{ name }", 30));
    let event = count_json(30);
    for schema in [None, Some(&schema())] {
        let expected = format!(r#"{{"data":{{"user":{event}}}}}"#);
        assert_eq!(render(&text, schema, "{}", &event), expected);
    }
}

fn count_json(times: usize) -> String {
    (0..times).fold(r#"{"name":"A"}"#.to_owned(), |inner, _| format!(r#"{{"owner":{inner}}}"#))
}

#[test]
fn equal_projections_are_one_whatever_the_document_says() {
    let hash = |projection: &Projection| {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        BuildHasherDefault::<DefaultHasher>::default().hash_one(projection)
    };
    let plain = "subscription { user { id name owner { id } } }";
    let rows = [
        ("subscription Other { user{id,name,owner{id}} }", "{}", true),
        (
            "subscription { ...R } fragment R on Subscription { user { id ... { name } owner { id } } }",
            "{}",
            true,
        ),
        ("subscription { user { id name } user { owner { id } } }", "{}", true),
        (
            "subscription ($v: Boolean!) { user { id name tags @skip(if: $v) owner { id } } }",
            r#"{"v":true}"#,
            true,
        ),
        (
            "subscription ($v: Boolean!) { user { id name tags @skip(if: $v) owner { id } } }",
            r#"{"v":false}"#,
            false,
        ),
        ("subscription { user { name id owner { id } } }", "{}", false),
        ("subscription { k: user { id name owner { id } } }", "{}", false),
        ("subscription { user { id: name name owner { id } } }", "{}", false),
    ];
    for schema in [None, Some(&schema())] {
        let one = bound(plain, schema, "{}").projection;
        for (text, variables, same) in rows {
            let other = bound(text, schema, variables).projection;
            assert_eq!(*one == *other, same, "{text}");
            assert_eq!(hash(&one) == hash(&other), same, "{text}");
        }
    }
}
