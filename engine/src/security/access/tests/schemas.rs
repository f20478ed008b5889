//! What is left of an event where a schema describes it.

use super::*;

const SDL: &str = r"
    type Query { a: Int }
    type Subscription { user: User, node: Node, any: Any, users: [User!]! }
    interface Node { id: ID!, name: String, owner: User }
    type User implements Node { id: ID!, name: String, owner: User, email: String, age: Int, tags: [String!]!, boss: User!,
        blob: JSON, color: Color }
    type Cat implements Node { id: ID!, name: String, owner: User }
    type Dog implements Node { id: ID!, name: String, owner: User }
    union Any = User | Cat
    scalar JSON
    enum Color { RED }
    interface Lonely { x: Int }
";

fn schema() -> Schema {
    Schema::parse(SDL).unwrap()
}

/// The body for a reader without rights, `data` alone, or the field that is refused; who has them gets all.
fn row(access: Access, query: &str, event: &str, expected: Result<&str, &str>) {
    let schema = schema();
    let gate = access.compile(Some(&schema)).unwrap();
    let query = format!("subscription {query}");
    let found = body(&gate, Some(&schema), &reader("", ""), &query, event);
    let expected = expected.map(|data| format!(r#"{{"data":{data}}}"#)).map_err(str::to_owned);
    assert_eq!(found, expected, "{query}");
    let open = Access::new().compile(None).unwrap();
    let [all, met] =
        [&open, &gate].map(|gate| body(gate, Some(&schema), &reader("admin", ""), &query, event));
    assert_eq!(met, all, "{query}");
}

fn rule(field: &str, otherwise: Otherwise) -> Access {
    Access::new().rule(Rule::at(field).any_role(["admin"]).otherwise(otherwise))
}

fn mask(field: &str) -> Access {
    rule(field, Otherwise::Mask)
}

const USER: &str = r#"{"__typename":"User","id":"1","name":"Ada","email":"a@b","age":7,"tags":["x","y"]}"#;
const CAT: &str = r#"{"__typename":"Cat","id":"2","name":"Tom"}"#;

#[test]
fn a_rule_for_a_type_holds_wherever_the_type_is() {
    row(mask("User.email"), "{ user { id email } }", USER, Ok(r#"{"user":{"id":"1","email":null}}"#));
    let users = format!("[{USER},{USER}]");
    row(mask("User.email"), "{ users { x: email } }", &users, Ok(r#"{"users":[{"x":null},{"x":null}]}"#));
    let owned = format!(r#"{{"__typename":"Cat","owner":{USER}}}"#);
    row(
        mask("User.email"),
        "{ node { owner { email } } }",
        &owned,
        Ok(r#"{"node":{"owner":{"email":null}}}"#),
    );
    row(
        rule("User.email", Otherwise::Reject),
        "{ node { owner { email } } }",
        &owned,
        Err("node.owner.email"),
    );
    row(
        mask("User.*"),
        "{ user { __typename name email } }",
        USER,
        Ok(r#"{"user":{"__typename":"User","name":null,"email":null}}"#),
    );
    row(mask("Subscription.user"), "{ user { name } }", USER, Ok(r#"{"user":null}"#));
    row(mask("user.email"), "{ user { name email } }", USER, Ok(r#"{"user":{"name":"Ada","email":null}}"#));
}

#[test]
fn an_interface_hides_no_type() {
    let named = |name: &str| Ok(format!(r#"{{"node":{{"name":{name}}}}}"#));
    for (field, user, cat) in
        [("User.name", "null", "\"Tom\""), ("Cat.name", "\"Ada\"", "null"), ("Node.name", "null", "null")]
    {
        for query in ["{ node { name } }", "{ node { ... on Node { name } } }", "{ node { ... { name } } }"] {
            row(mask(field), query, USER, named(user).as_deref().map_err(|()| ""));
            row(mask(field), query, CAT, named(cat).as_deref().map_err(|()| ""));
        }
        // An event that does not tell its type gives what all types may give.
        row(mask(field), "{ node { name } }", r#"{"name":"x"}"#, Ok(r#"{"node":{"name":null}}"#));
        row(rule(field, Otherwise::Reject), "{ node { name } }", CAT, Err("node.name"));
    }
    row(
        mask("User.name"),
        "{ node { ... on User { name } ... on Cat { name } } }",
        CAT,
        named("\"Tom\"").as_deref().map_err(|()| ""),
    );
    row(
        mask("User.name"),
        "{ any { ... on User { name } ... on Cat { name } } }",
        USER,
        Ok(r#"{"any":{"name":null}}"#),
    );
    // A condition on another type lets nobody in.
    row(
        rule("User.name", Otherwise::Reject),
        "{ node { ... on Cat { name } } }",
        CAT,
        named("\"Tom\"").as_deref().map_err(|()| ""),
    );
    let by_path = mask("node.name");
    row(by_path.clone(), "{ node { name } }", CAT, named("null").as_deref().map_err(|()| ""));
    row(by_path, "{ node { ... on Cat { name } } }", CAT, named("null").as_deref().map_err(|()| ""));
}

#[test]
fn what_may_not_be_null_is_refused_instead() {
    row(mask("User.id"), "{ user { id } }", USER, Err("user.id"));
    row(mask("User.boss"), "{ user { boss { name } } }", USER, Err("user.boss"));
    row(mask("users"), "{ users { name } }", "[]", Err("users"));
    row(mask("user.tags"), "{ user { tags } }", USER, Err("user.tags"));
    row(mask("node.__typename"), "{ node { __typename } }", CAT, Err("node.__typename"));
}

#[test]
fn redaction_keeps_to_the_schema() {
    let stars = || Otherwise::Replace("***".into());
    row(rule("User.email", stars()), "{ user { email } }", USER, Ok(r#"{"user":{"email":"***"}}"#));
    row(rule("User.id", stars()), "{ user { id } }", USER, Ok(r#"{"user":{"id":"***"}}"#));
    row(rule("User.tags", stars()), "{ user { tags } }", USER, Ok(r#"{"user":{"tags":["***"]}}"#));
    row(
        rule("User.tags", Otherwise::KeepLast(1)),
        "{ user { tags } }",
        r#"{"tags":["xyz","é"]}"#,
        Ok(r#"{"user":{"tags":["***z","***"]}}"#),
    );
    for otherwise in [stars(), Otherwise::KeepLast(1)] {
        row(rule("User.age", otherwise.clone()), "{ user { age } }", USER, Ok(r#"{"user":{"age":null}}"#));
        row(rule("User.color", otherwise), "{ user { color } }", USER, Ok(r#"{"user":{"color":null}}"#));
    }
    row(
        rule("user", stars()),
        "{ user { __typename email age } }",
        USER,
        Ok(r#"{"user":{"__typename":"User","email":"***","age":null}}"#),
    );
    row(
        rule("User.blob", stars()),
        "{ user { blob } }",
        r#"{"blob":{"a":1}}"#,
        Ok(r#"{"user":{"blob":"***"}}"#),
    );
}

#[test]
fn a_scalar_that_nobody_described_may_hold_what_is_hidden() {
    let schema = schema();
    let gate = mask("user.blob.secret").compile(Some(&schema)).unwrap();
    let get =
        |event| body(&gate, Some(&schema), &reader("", ""), "subscription { user { blob } }", event).unwrap();
    assert!(!get(r#"{"blob":{"secret":"x7"}}"#).contains("x7"));
    assert_eq!(get(r#"{"blob":["x7"]}"#), r#"{"data":{"user":{"blob":["x7"]}}}"#);
}

#[test]
fn rules_that_the_schema_does_not_bear_are_refused() {
    let schema = schema();
    let code = |field: &str, schema| {
        Access::new().rule(Rule::at(field).any_role(["x"])).compile(schema).err().map(|error| error.code())
    };
    for field in [
        "User.email",
        "Node.name",
        "User.*",
        "Any.*",
        "Any.__typename",
        "user.email",
        "users.boss.email",
        "any.email",
        "node.email",
        "user.*.email",
        "user.blob.a.b",
        "user.**",
        "*.name",
        "node.__typename",
    ] {
        assert_eq!(code(field, Some(&schema)), None, "{field}");
    }
    for field in [
        "User.phone",
        "Users.email",
        "String.x",
        "Any.email",
        "Lonely.x",
        "user.phone",
        "users.email.x",
        "nobody.email",
        "node.phone",
        "email",
        "user.email.**",
        "user.age.*",
    ] {
        assert_eq!(code(field, Some(&schema)), Some("unknown_field"), "{field}");
    }
    for field in ["User.email", "User.*", "Ünicode.x"] {
        assert_eq!(
            code(field, None),
            Some(if field.is_ascii() { "no_schema" } else { "malformed_rule" }),
            "{field}"
        );
    }
    for field in
        ["User", "User.a.b", "User.**", "", ".", "user.", "user..id", "user.**.id", "a b", "user.1x", "us*r"]
    {
        assert_eq!(code(field, Some(&schema)), Some("malformed_rule"), "{field}");
    }
    let lower =
        Schema::parse("type Query { a: Int } type Subscription { Big: user } type user { x: Int }").unwrap();
    for (rule, refused) in [
        (Rule::at("user.x"), Some("unknown_field")),
        (Rule::at_type("user.x"), None),
        (Rule::at("Big.x"), Some("unknown_field")),
        (Rule::at_path("Big.x"), None),
    ] {
        let found = Access::new().rule(rule.public()).compile(Some(&lower)).err().map(|error| error.code());
        assert_eq!(found, refused);
    }
}

#[test]
fn what_has_no_rule_may_be_denied() {
    let schema = schema();
    let access =
        Access::new().rule(Rule::at("Subscription.node").public()).rule(Rule::at("User.name").public());
    let gate = access.clone().deny_by_default(true).compile(Some(&schema)).unwrap();
    let get = |query: &str| body(&gate, Some(&schema), &reader("", ""), query, USER);
    let ok = |data: &str| Ok(format!(r#"{{"data":{data}}}"#));
    assert_eq!(
        get("subscription { node { ... on User { name __typename } } }"),
        ok(r#"{"node":{"name":"Ada","__typename":"User"}}"#)
    );
    assert_eq!(get("subscription { node { name } }"), Err("node.name".into()), "cats have names, too");
    assert_eq!(get("subscription { node { ... on User { id } } }"), Err("node.id".into()));
    assert_eq!(get("subscription { user { name } }"), Err("user".into()));
    let access = access.rule(Rule::at("Cat.name").public()).rule(Rule::at("Dog.name").public());
    let gate = access.deny_by_default(true).compile(Some(&schema)).unwrap();
    assert_eq!(
        body(&gate, Some(&schema), &reader("", ""), "subscription { node { name } }", CAT),
        ok(r#"{"node":{"name":"Tom"}}"#)
    );
}

#[test]
fn filters_may_name_what_may_be_read() {
    let schema = schema();
    let gate = mask("User.email").compile(Some(&schema)).unwrap();
    let may = |path: &str, roles: &str| gate.may_read(path, &words(roles), &[]);
    for path in ["user.name", "users.0.name", "node.name", "user.blob", "user.blob.x.y", "node.owner.age"] {
        assert!(may(path, "") && may(path, "admin"), "{path}");
    }
    for path in ["user.email", "node.email", "node.owner.email", "any.email", "user", "node.owner"] {
        assert!(!may(path, "") && may(path, "admin"), "{path}");
    }
    for path in ["user.phone", "user.name.x", "tenant_id", "node.phone"] {
        assert!(!may(path, "admin"), "the schema shows no `{path}`");
    }
}

/// Types that rules tell apart multiply level by level; what that may cost is bounded.
#[test]
fn many_types_do_not_explode() {
    let types: Vec<_> = (0..12).map(|n| format!("type T{n} implements N {{ n: N, x: Int }}")).collect();
    let types = types.join(" ");
    let sdl = format!(
        "type Query {{ a: Int }} type Subscription {{ n: N }} interface N {{ n: N, x: Int }} {types}"
    );
    let schema = Schema::parse(&sdl).unwrap();
    let gate = mask("T1.x").rule(Rule::at("N.n").any_role(["some"])).compile(Some(&schema)).unwrap();
    let query = format!("subscription {{ {} x {} }}", "n {".repeat(15), "}".repeat(15));
    assert_eq!(body(&gate, Some(&schema), &reader("some", ""), &query, "{}"), Err("LIMIT_EXCEEDED".into()));
}
