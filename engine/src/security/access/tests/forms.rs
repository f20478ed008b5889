//! Rules as JSON, and rules that cannot be.

use super::*;

fn read(json: &str) -> Result<Access, AccessError> {
    Access::from_value(&Value::parse(&mut json.as_bytes().to_vec(), 64).unwrap())
}

#[test]
fn json_says_what_the_builder_says() {
    let form = r#"{
        "rules": {
            "User.email": {"roles": ["admin", "support"], "otherwise": "mask"},
            "users.card": {"scopes": {"all": ["a", "b"]}, "roles": {"any": "x"}, "redact": {"last": 4}},
            "users.note": {"redact": "***"},
            "users.name": {"public": true},
            "user.x": {"kind": "type", "roles": {"all": ["y", "z"]}, "otherwise": "reject"},
            "Users.x": {"kind": "path", "scopes": "s", "public": false}
        },
        "required_scopes": {"users": ["read"], "orders": "write"},
        "deny_by_default": true
    }"#;
    let expected = Access::new()
        .rule(Rule::at("User.email").any_role(["admin", "support"]).otherwise(Otherwise::Mask))
        .rule(Rule::at("users.card").all_scopes(["a", "b"]).any_role(["x"]).otherwise(Otherwise::KeepLast(4)))
        .rule(Rule::at("users.note").otherwise(Otherwise::Replace("***".into())))
        .rule(Rule::at("users.name").public())
        .rule(Rule::at_type("user.x").all_roles(["y", "z"]).otherwise(Otherwise::Reject))
        .rule(Rule::at_path("Users.x").any_scope(["s"]))
        .required_scopes("users", ["read"])
        .required_scopes("orders", ["write"])
        .deny_by_default(true);
    assert_eq!(read(form), Ok(expected));
    assert_eq!(read("{}"), Ok(Access::new()));
}

#[test]
fn what_cannot_be_read_is_refused() {
    for form in [
        "null",
        "[]",
        r#"{"rule":{}}"#,
        r#"{"rules":[]}"#,
        r#"{"rules":{"u.a":"admin"}}"#,
        r#"{"rules":{"u.a":{"role":"x"}}}"#,
        r#"{"rules":{"u.a":{"roles":7}}}"#,
        r#"{"rules":{"u.a":{"roles":[7]}}}"#,
        r#"{"rules":{"u.a":{"roles":{"some":["x"]}}}}"#,
        r#"{"rules":{"u.a":{"roles":{"any":["x"],"all":["y"]}}}}"#,
        r#"{"rules":{"u.a":{"otherwise":"hide"}}}"#,
        r#"{"rules":{"u.a":{"otherwise":null}}}"#,
        r#"{"rules":{"u.a":{"otherwise":"mask","redact":"*"}}}"#,
        r#"{"rules":{"u.a":{"redact":7}}}"#,
        r#"{"rules":{"u.a":{"redact":{"last":-1}}}}"#,
        r#"{"rules":{"u.a":{"redact":{"first":1}}}}"#,
        r#"{"rules":{"u.a":{"public":"yes"}}}"#,
        r#"{"rules":{"u.a":{"kind":"field","public":true}}}"#,
        r#"{"required_scopes":{"u":7}}"#,
        r#"{"required_scopes":["u"]}"#,
        r#"{"deny_by_default":"no"}"#,
    ] {
        assert_eq!(read(form).map_err(|error| error.code()), Err("malformed"), "{form}");
    }
}

#[test]
fn rules_that_say_nothing_or_two_things_are_refused() {
    let rule = || Rule::at("u.a");
    for rule in [
        rule(),
        rule().any_role([""]),
        rule().any_role(Vec::<String>::new()),
        rule().all_roles(Vec::<String>::new()),
        rule().any_scope(["x", ""]),
        rule().all_scopes(Vec::<String>::new()),
        rule().public().any_role(["x"]),
        rule().public().otherwise(Otherwise::Mask),
        rule().otherwise(Otherwise::KeepLast(0)),
    ] {
        let refused = Access::new().rule(rule.clone()).compile(None).unwrap_err();
        assert_eq!(refused.code(), "malformed_rule", "{rule:?}");
        assert!(refused.to_string().contains("u.a"), "{refused}");
    }
    assert!(Access::new().required_scopes("u", Vec::<String>::new()).compile(None).is_err());
}
