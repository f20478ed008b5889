//! What variables become, with and without a schema, and which operation is meant.

use super::{plan, value};
use crate::{
    limits::Limits,
    plan::{OperationName, Plan, Plans, Schema},
    value::Value,
};

const SDL: &str = r"
    type Query { a: Int }
    type Subscription { t(
        i: Int, f: Float, s: String, b: Boolean, id: ID, l: [Int], ll: [[Int]], any: Any, e: Color, es: [Color],
        o: In, ids: [ID!]
    ): Int }
    scalar Any
    enum Color { RED GREEN }
    input In { x: Int!, y: [ID] = [1], o: In, e: Color = RED }
";

/// The coerced variables as JSON, or the number of errors.
fn bind(definition: &str, argument: &str, schema: Option<&Schema>, given: &str) -> Result<String, usize> {
    let text = format!("subscription ($v: {definition}) {{ t({argument}: $v) }}");
    plan(&text, schema)
        .bind(&value(given), &Limits::default())
        .map(|bound| bound.variables.to_string())
        .map_err(|errors| {
            assert!(errors.iter().all(|error| error.code == "BAD_USER_INPUT"), "{errors:?}");
            errors.len()
        })
}

#[test]
fn what_is_known_by_name_is_coerced_alike_with_and_without_a_schema() {
    let schema = Schema::parse(SDL).unwrap();
    let row = |definition: &str, argument: &str, given: &str, expected: Result<&str, usize>| {
        for schema in [None, Some(&schema)] {
            let found = bind(definition, argument, schema, given);
            let expected = expected.map(str::to_owned);
            assert_eq!(found, expected, "{definition} = {given}, schema: {}", schema.is_some());
        }
    };
    row("Int", "i", r#"{"v":7}"#, Ok(r#"{"v":7}"#));
    row("Int", "i", r#"{"v":-2147483648}"#, Ok(r#"{"v":-2147483648}"#));
    for wrong in ["2147483648", "-2147483649", "1.5", "1.0", "\"7\"", "true", "[]", "{}", "[1]"] {
        row("Int", "i", &format!(r#"{{"v":{wrong}}}"#), Err(1));
    }
    row("Float", "f", r#"{"v":1.5}"#, Ok(r#"{"v":1.5}"#));
    row("Float", "f", r#"{"v":7}"#, Ok(r#"{"v":7}"#));
    row("Float", "f", r#"{"v":9007199254740993}"#, Ok(r#"{"v":9007199254740993}"#));
    for wrong in ["\"1.5\"", "true", "{}"] {
        row("Float", "f", &format!(r#"{{"v":{wrong}}}"#), Err(1));
    }
    row("String", "s", r#"{"v":"a\u0000\ud83d\ude00"}"#, Ok("{\"v\":\"a\\u0000\u{1f600}\"}"));
    for wrong in ["1", "true", "[\"a\"]", "{}"] {
        row("String", "s", &format!(r#"{{"v":{wrong}}}"#), Err(1));
    }
    row("Boolean", "b", r#"{"v":false}"#, Ok(r#"{"v":false}"#));
    for wrong in ["0", "\"true\"", "[true]"] {
        row("Boolean", "b", &format!(r#"{{"v":{wrong}}}"#), Err(1));
    }
    row("ID", "id", r#"{"v":"x"}"#, Ok(r#"{"v":"x"}"#));
    row("ID", "id", r#"{"v":7}"#, Ok(r#"{"v":"7"}"#));
    for wrong in ["1.5", "true", "{}"] {
        row("ID", "id", &format!(r#"{{"v":{wrong}}}"#), Err(1));
    }
    row("Any", "any", r#"{"v":{"a":[1,null]}}"#, Ok(r#"{"v":{"a":[1,null]}}"#));
    row("Int", "i", r#"{"v":null}"#, Ok(r#"{"v":null}"#));
    row("Int", "i", "{}", Ok("{}"));
    row("Int", "i", "null", Ok("{}"));
    row("Int", "i", r#"{"w":7}"#, Ok("{}"));
    row("Int!", "i", "{}", Err(1));
    row("Int!", "i", r#"{"v":null}"#, Err(1));
    row("Int = 3", "i", "{}", Ok(r#"{"v":3}"#));
    row("Int = 3", "i", r#"{"v":null}"#, Ok(r#"{"v":null}"#));
    row("Int! = 3", "i", "{}", Ok(r#"{"v":3}"#));
    row("Int! = 3", "i", r#"{"v":null}"#, Err(1));
    row("ID = 3", "id", "{}", Ok(r#"{"v":"3"}"#));
    row("Float = 3", "f", "{}", Ok(r#"{"v":3}"#));
    row("String = \"a\\u00e9\"", "s", "{}", Ok(r#"{"v":"aé"}"#));
    row("[Int]", "l", r#"{"v":[1,null]}"#, Ok(r#"{"v":[1,null]}"#));
    row("[Int]", "l", r#"{"v":7}"#, Ok(r#"{"v":[7]}"#));
    row("[Int]", "l", r#"{"v":null}"#, Ok(r#"{"v":null}"#));
    row("[Int] = 7", "l", "{}", Ok(r#"{"v":[7]}"#));
    row("[Int!]", "l", r#"{"v":[1,null]}"#, Err(1));
    row("[Int]!", "l", r#"{"v":null}"#, Err(1));
    row("[[Int]]", "ll", r#"{"v":[[1],null]}"#, Ok(r#"{"v":[[1],null]}"#));
    row("[[Int]]", "ll", r#"{"v":1}"#, Ok(r#"{"v":[[1]]}"#));
    row("[ID!]", "ids", r#"{"v":[1,"a"]}"#, Ok(r#"{"v":["1","a"]}"#));
    row("Color", "e", r#"{"v":"RED"}"#, Ok(r#"{"v":"RED"}"#));
    row("Color = GREEN", "e", "{}", Ok(r#"{"v":"GREEN"}"#));
}

#[test]
fn only_a_schema_knows_enums_and_input_objects() {
    let schema = Schema::parse(SDL).unwrap();
    let row = |definition: &str, argument: &str, given: &str, expected: Result<&str, usize>| {
        let found = bind(definition, argument, Some(&schema), given);
        assert_eq!(found, expected.map(str::to_owned), "{definition} = {given}");
        assert!(bind(definition, argument, None, given).is_ok(), "{definition} = {given}");
    };
    row("Color", "e", r#"{"v":"BLUE"}"#, Err(1));
    row("Color", "e", r#"{"v":1}"#, Err(1));
    row("[Color]", "es", r#"{"v":["RED","BLUE"]}"#, Err(1));
    row("[Color]", "es", r#"{"v":"RED"}"#, Ok(r#"{"v":["RED"]}"#));
    row("In", "o", r#"{"v":{"x":1}}"#, Ok(r#"{"v":{"x":1,"y":["1"],"e":"RED"}}"#));
    row("In", "o", r#"{"v":{"x":1,"y":2,"e":null}}"#, Ok(r#"{"v":{"x":1,"y":["2"],"e":null}}"#));
    row("In", "o", r#"{"v":{}}"#, Err(1));
    row("In", "o", r#"{"v":{"x":null}}"#, Err(1));
    row("In", "o", r#"{"v":{"x":1,"z":1}}"#, Err(1));
    row("In", "o", r#"{"v":{"x":1,"o":{"x":"1"}}}"#, Err(1));
    row("In", "o", r#"{"v":7}"#, Err(1));
    row("In = {x: 1}", "o", "{}", Ok(r#"{"v":{"x":1,"y":["1"],"e":"RED"}}"#));
}

#[test]
fn every_wrong_variable_is_named() {
    let plan = plan("subscription ($a: Int!, $b: Int, $c: Int) { t(i: $a, f: $b, x: $c) }", None);
    let errors = plan.bind(&value(r#"{"b":"x","c":1}"#), &Limits::default()).unwrap_err();
    let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "variable `$a`: a value of type `Int!` is required",
            "variable `$b`: `Int` expected, and `\"x\"` given",
        ]
    );
    for wrong in ["[]", "1", "\"a\"", "true"] {
        assert_eq!(plan.bind(&value(wrong), &Limits::default()).unwrap_err()[0].code, "BAD_USER_INPUT");
    }
}

#[test]
fn the_operation_meant_is_the_only_one_or_the_named_one() {
    const NO: &str = "OPERATION_RESOLUTION_FAILURE";
    let (anonymous, named) = ("subscription { t }", "subscription A { t }");
    let two = "subscription A { t } subscription B { u: t }";
    let only = || OperationName::Only;
    let name = |name: &str| OperationName::Named(name.into());
    let label = |name: &str| OperationName::Label(name.into());
    for (text, meant, expected) in [
        (anonymous, only(), Ok(None)),
        (named, only(), Ok(Some("A"))),
        (two, only(), Err(NO)),
        (anonymous, name("A"), Err(NO)),
        (named, name("A"), Ok(Some("A"))),
        (named, name("B"), Err(NO)),
        (two, name("B"), Ok(Some("B"))),
        (two, name("C"), Err(NO)),
        (anonymous, label("OnUserUpdated"), Ok(None)),
        (named, label("A"), Ok(Some("A"))),
        (named, label("B"), Err(NO)),
        (two, label("B"), Ok(Some("B"))),
        (two, label("C"), Err(NO)),
        ("query A { t } subscription B { t }", name("A"), Err(NO)),
        ("query A { t } subscription B { t }", name("B"), Ok(Some("B"))),
        ("mutation { t }", only(), Err(NO)),
    ] {
        let plan = Plan::compile(text, &meant, None, &Limits::default());
        let found = plan.as_ref().map(Plan::operation_name).map_err(|errors| errors[0].code);
        assert_eq!(found, expected, "{text} {meant:?}");
    }
}

#[test]
fn a_plan_knows_its_root_field_and_response_key() {
    for (text, field, key) in [
        ("subscription { t }", "t", "t"),
        ("subscription { k: t }", "t", "k"),
        ("subscription { ... { ...F } } fragment F on Subscription { k: t }", "t", "k"),
    ] {
        let plan = plan(text, None);
        assert_eq!((plan.root_field(), plan.response_key(), &**plan.document()), (field, key, text));
    }
}

#[test]
fn the_cache_gives_one_plan_for_one_document() {
    use std::sync::Arc;
    let limits = Limits { plans_max: 2, ..Limits::default() };
    let plans = Plans::new(None, &limits);
    let plan = |text: &str, name: &OperationName| plans.plan(text, name).unwrap();
    let (a, b) = ("subscription A { t }", "subscription B { t }");
    let only = OperationName::Only;
    let first = plan(a, &only);
    assert!(Arc::ptr_eq(&first, &plan(a, &only)));
    assert!(!Arc::ptr_eq(&first, &plan(a, &OperationName::Named("A".into()))));
    assert!(Arc::ptr_eq(&first, &plan(a, &only)), "two plans have room");
    plan(b, &only);
    assert!(!Arc::ptr_eq(&first, &plan(a, &only)), "the third made the cache start anew");
    assert_eq!(first.bind(&Value::Null, &limits).unwrap().variables, Value::Object(Vec::new()));
    assert!(plans.plan("subscription {", &only).is_err());
}

#[test]
fn a_projection_without_conditions_is_compiled_once() {
    use std::sync::Arc;
    let bind = |plan: &Plan, given: &str| plan.bind(&value(given), &Limits::default()).unwrap().projection;
    let fixed = plan("subscription ($a: Int) { t(a: $a) { x } }", None);
    assert!(Arc::ptr_eq(&bind(&fixed, r#"{"a":1}"#), &bind(&fixed, r#"{"a":2}"#)));
    let conditional = plan("subscription ($a: Boolean!) { t { x y @skip(if: $a) } }", None);
    assert_ne!(bind(&conditional, r#"{"a":true}"#), bind(&conditional, r#"{"a":false}"#));
}
