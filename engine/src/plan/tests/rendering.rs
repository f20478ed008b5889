//! What events give under selections, with and without a schema.

use super::{bound, render};
use crate::{
    plan::{Projection, RenderError, Schema},
    value::Document,
};

const SDL: &str = r"
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
";

fn schema() -> Schema {
    Schema::parse(SDL).unwrap()
}

/// Selection, event, and what the root field gives, alike with and without a schema.
const COPIED: &str = r#"
    user { name } | {"name":"Ann","id":"1"} | {"name":"Ann"}
    user { name id } | {"id":"1","name":"Ann"} | {"name":"Ann","id":"1"}
    user { a: name b: name } | {"name":"Ann"} | {"a":"Ann","b":"Ann"}
    user { name name } | {"name":"Ann"} | {"name":"Ann"}
    user { name id } | {} | {"name":null,"id":null}
    user { name } | {"name":null} | {"name":null}
    user { name } | null | null
    user { tags } | {"tags":["a",null]} | {"tags":["a",null]}
    user { tags } | {"tags":[]} | {"tags":[]}
    user { owner { name } } | {"owner":{"name":"B"}} | {"owner":{"name":"B"}}
    user { owner { name } } | {"owner":null} | {"owner":null}
    user { owner { name } owner { id } } | {"owner":{}} | {"owner":{"name":null,"id":null}}
    user { friends { name } } | {"friends":[{"name":"B"},{}]} | {"friends":[{"name":"B"},{"name":null}]}
    user { name } | {"name":"q\" \\ \n \u00e9 \ud83d\ude00"} | {"name":"q\" \\ \n \u00e9 \ud83d\ude00"}
    user { name } | {"n\u0061me":"Ann"} | {"name":"Ann"}
    users { name } | [{"name":"A"},{"name":"B"}] | [{"name":"A"},{"name":"B"}]
    users { name } | [] | []
    grid { name } | [[{"name":"A"}],null,[null,{}]] | [[{"name":"A"}],null,[null,{"name":null}]]
    ids | ["a","b"] | ["a","b"]
    user { ...F } fragment F on User { name ...G } fragment G on User { id } | {"name":"A","id":"1","__typename":"User"} | {"name":"A","id":"1"}
    user { ... { name } } | {"name":"A"} | {"name":"A"}
    user { ... on User { owner { id } } owner { name } } | {"owner":{"id":"1","name":"A"}} | {"owner":{"id":"1","name":"A"}}
    user { t: __typename name } | {"__typename":"User","name":"A"} | {"t":"User","name":"A"}
    pet { __typename ... on Dog { bark } ... on Cat { meow } } | {"__typename":"Cat","meow":"m","bark":"b"} | {"__typename":"Cat","meow":"m"}
    pet { ... on Dog { bark name } ... on Cat { name meow } } | {"bark":"b","meow":"m","name":"n","__typename":"Dog"} | {"bark":"b","name":"n"}
    pet { ... on Dog { bark } } | {"__typename":"Cat","meow":"m"} | {}
    node { id ... on Robot { volts } } | {"__typename":"User","id":"1"} | {"id":"1"}
    node { ... on User { name } id ... on Robot { name } } | {"__typename":"Robot","id":"1","name":"R","owner":{}} | {"id":"1","name":"R"}
    scalars { any } | {"any":{"a":[1,2.50]}} | {"any":{"a":[1,2.50]}}
    scalars { any f } | {"any":123456789012345678901234567890,"f":123456789012345678901234567890} | {"any":123456789012345678901234567890,"f":123456789012345678901234567890}
    scalars { f i s b e id } | {"f":1.50e3,"i":-7,"s":"","b":false,"e":"RED","id":"x"} | {"f":1.50e3,"i":-7,"s":"","b":false,"e":"RED","id":"x"}
"#;

/// The same where nothing is known but the event.
const SAID: &str = r#"
    user { owner } | {"owner":{"x":[1, 2]}} | {"owner":{"x":[1, 2]}}
    user { owner { x } } | {"owner":[{"x":1},[{"x":2}]]} | {"owner":[{"x":1},[{"x":2}]]}
    user { ... on User { name } ... on Robot { volts } } | {"name":"A"} | {"name":"A","volts":null}
    user { id ... on Robot { volts } } | {"__typename":"User","id":"1"} | {"id":"1"}
    user { ... on Node { ... on User { id } } } | {"__typename":"User","id":"1"} | {"id":"1"}
    user { ... on Robot { ... on User { id } } } | {"__typename":"Robot","id":"1"} | {}
    user { id } | {"id":7} | {"id":7}
"#;

/// The same where the schema says more than the event.
const LEFT_OUT: &str = r#"
    user { __typename } | {} | {"__typename":"User"}
    user { __typename } | {"__typename":"Nonsense"} | {"__typename":"User"}
    user { ... on Node { id } } | {} | {"id":null}
    user { id } | {"id":7} | {"id":"7"}
    user { id } | {"id":123456789012345678901} | {"id":"123456789012345678901"}
    node { id } | {"id":7} | {"id":"7"}
    node { ... on Node { id } } | {"__typename":"Robot","id":"1"} | {"id":"1"}
    pet { ... on Pet { ... on Dog { bark } } } | {"__typename":"Dog","bark":"b"} | {"bark":"b"}
"#;

/// Selection, event, data, and the path and message of each error.
const FAILED: &str = r#"
    scalars { i f } | {"i":"7","f":1} | {"scalars":{"i":null,"f":1}} | ["scalars","i"] a 32-bit integer expected
    scalars { i } | {"i":2147483648} | {"scalars":{"i":null}} | ["scalars","i"] a 32-bit integer expected
    scalars { i } | {"i":1.0} | {"scalars":{"i":null}} | ["scalars","i"] a 32-bit integer expected
    scalars { f } | {"f":"1"} | {"scalars":{"f":null}} | ["scalars","f"] a number expected
    scalars { s } | {"s":1} | {"scalars":{"s":null}} | ["scalars","s"] a string expected
    scalars { s } | {"s":{"a":1}} | {"scalars":{"s":null}} | ["scalars","s"] a string expected
    scalars { b } | {"b":0} | {"scalars":{"b":null}} | ["scalars","b"] a boolean expected
    scalars { id } | {"id":1.5} | {"scalars":{"id":null}} | ["scalars","id"] a string or an integer expected
    scalars { e } | {"e":"BLUE"} | {"scalars":{"e":null}} | ["scalars","e"] a value of the enum expected
    user { owner { id } } | {"owner":"x"} | {"user":{"owner":null}} | ["user","owner"] an object expected
    user { tags } | {"tags":"x"} | {"user":{"tags":null}} | ["user","tags"] a list expected
    user { owner { id } } | {"owner":[{}]} | {"user":{"owner":null}} | ["user","owner"] an object expected
    users { name } | {"name":"A"} | {"users":null} | ["users"] a list expected
    users { name } | [{}, null] | {"users":null} | ["users",1] a value that may not be null is missing
    ids | null | null | ["ids"] a value that may not be null is missing
    k: strict { m: must } | {} | {"k":null} | ["k","m"] a value that may not be null is missing
    strictest { must } | {} | null | ["strictest","must"] a value that may not be null is missing
    strictest { inner { must } may } | {"inner":{},"may":1} | {"strictest":{"inner":null,"may":1}} | ["strictest","inner","must"] a value that may not be null is missing
    strict { may strict { strict { must } } } | {"may":"x","strict":{"strict":{}}} | {"strict":null} | ["strict","may"] a 32-bit integer expected; ["strict","strict","strict","must"] a value that may not be null is missing
    strict { list may } | {"list":["a",null],"may":2} | {"strict":{"list":null,"may":2}} | ["strict","list",1] a value that may not be null is missing
    strict { lists } | {"lists":[["a"],["b",1]]} | {"strict":{"lists":null}} | ["strict","lists",1,1] a string expected
    user { friends { id } } | {"friends":[{"id":true},{"id":"1"}]} | {"user":{"friends":[{"id":null},{"id":"1"}]}} | ["user","friends",0,"id"] a string or an integer expected
    pet { ... on Dog { bark } } | {"bark":"b"} | {"pet":null} | ["pet"] the type is not known: put `__typename` into the event, or give a schema
    pet { __typename } | {} | {"pet":null} | ["pet","__typename"] the type is not known: put `__typename` into the event, or give a schema
    pet { __typename } | {"__typename":"User"} | {"pet":null} | ["pet","__typename"] `__typename` is not one of the types that the schema allows here
    pet { ... on Dog { bark } } | {"__typename":"User"} | {"pet":null} | ["pet"] `__typename` is not one of the types that the schema allows here
    node { id } | {"__typename":"Robot"} | {"node":null} | ["node","id"] a value that may not be null is missing
    node { ... { owner { id } } } | {"__typename":"Robot"} | {"node":null} | ["node","owner"] a value that may not be null is missing
"#;

/// The lines of a table, each with its cells.
fn table<const N: usize>(text: &str) -> impl Iterator<Item = [&str; N]> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let cells: Vec<_> = line.split(" | ").collect();
        cells.try_into().unwrap_or_else(|_| panic!("not {N} cells: {line}"))
    })
}

fn with(schema: Option<&Schema>, rows: &str) {
    for [selection, event, expected] in table(rows) {
        let (selection, fragments) =
            selection.split_at(selection.find(" fragment ").unwrap_or(selection.len()));
        let field = selection.split(' ').next().unwrap();
        let text = format!("subscription {{ {selection} }}{fragments}");
        let expected = format!(r#"{{"data":{{"{field}":{expected}}}}}"#);
        assert_eq!(render(&text, schema, "{}", event), expected, "{text} over {event}");
    }
}

#[test]
fn fields_are_copied_alike_with_and_without_a_schema() {
    with(None, COPIED);
    with(Some(&schema()), COPIED);
}

#[test]
fn without_a_schema_the_document_is_what_it_says() {
    with(None, SAID);
}

#[test]
fn a_schema_says_what_the_document_leaves_out() {
    with(Some(&schema()), LEFT_OUT);
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

#[test]
fn a_field_that_fails_is_null_with_an_error_at_its_path() {
    let schema = schema();
    for [selection, event, data, errors] in table(FAILED) {
        let text = format!("subscription {{ {selection} }}");
        let errors: Vec<_> = errors.split("; ").map(error).collect();
        let expected = format!(r#"{{"data":{data},"errors":[{}]}}"#, errors.join(","));
        assert_eq!(render(&text, Some(&schema), "{}", event), expected, "{text} over {event}");
    }
}

/// A path and a message as the error that stands in the body.
fn error(row: &str) -> String {
    let (path, message) = row.split_once("] ").unwrap();
    format!(r#"{{"message":"{message}","path":{path}]}}"#)
}

#[test]
fn without_a_schema_an_unknown_type_leaves_the_other_fields() {
    let body = render("subscription { user { __typename id } }", None, "{}", r#"{"id":1}"#);
    assert!(body.starts_with(r#"{"data":{"user":{"__typename":null,"id":1}},"errors":[{"#), "{body}");
}

#[test]
fn a_body_has_at_most_the_bytes_it_may() {
    let fields: Vec<_> = (0..200).map(|at| format!("a{at}")).collect();
    let text = format!("subscription {{ user {{ {} }} }}", fields.join(" "));
    let long = "x".repeat(10_000);
    let values: Vec<_> = fields.iter().map(|field| format!(r#""{field}":"{long}""#)).collect();
    let event = Document::parse(format!("{{{}}}", values.join(",")), 64).unwrap();
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
    let text = format!("subscription {{ user {} }}", count("{ name }", 14));
    let event = count_json(14);
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
