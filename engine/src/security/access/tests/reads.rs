//! What is left of an event without a schema.

use super::*;

const EVENT: &str = r#"{"id":7,"email":"ada@example.org","card":"4111222233334444","tags":["x","y"],
    "address":{"city":"Paris","street":"Rue 1"},"friends":[{"email":"bob@example.org"},null]}"#;

/// Holds one rule for `u.…` against readers: who meets it, and who does not.
fn row(rule: Rule, query: &str, met: &str, unmet: Result<&str, &str>) {
    let gate = Access::new().rule(rule).compile(None).unwrap();
    let data = |data: &str| format!(r#"{{"data":{{"u":{data}}}}}"#);
    let query = format!("subscription {{ u {query} }}");
    let get = |reader| body(&gate, None, &reader, &query, EVENT);
    assert_eq!(get(reader("admin", "")), Ok(data(met)), "{query}");
    let unmet = unmet.map(data).map_err(str::to_owned);
    assert_eq!(get(reader("clerk", "admin")), unmet, "{query}");
    assert_eq!(get(SecurityContext::default()), unmet, "{query}");
}

fn admin(field: &str) -> Rule {
    Rule::at(field).any_role(["admin", "root"])
}

#[test]
fn a_field_is_refused_masked_or_redacted() {
    let email = r#"{"id":7,"email":"ada@example.org"}"#;
    row(admin("u.email"), "{ id email }", email, Err("u.email"));
    row(admin("u.email").otherwise(Otherwise::Reject), "{ id email }", email, Err("u.email"));
    let mask = || admin("u.email").otherwise(Otherwise::Mask);
    row(mask(), "{ id email }", email, Ok(r#"{"id":7,"email":null}"#));
    let text = admin("u.email").otherwise(Otherwise::Replace("a \"b\"".into()));
    row(text, "{ email }", r#"{"email":"ada@example.org"}"#, Ok(r#"{"email":"a \"b\""}"#));
    let last = || admin("u.card").otherwise(Otherwise::KeepLast(4));
    row(last(), "{ card }", r#"{"card":"4111222233334444"}"#, Ok(r#"{"card":"***4444"}"#));
    // What is not about the field makes no difference.
    row(mask(), "{ id }", r#"{"id":7}"#, Ok(r#"{"id":7}"#));
    row(mask(), "{ friends { email } }", FRIENDS, Ok(FRIENDS));
}

const FRIENDS: &str = r#"{"friends":[{"email":"bob@example.org"},null]}"#;

#[test]
fn absent_fields_say_nothing() {
    let (absent, null) = (r#"{"phone":null}"#, Ok(r#"{"phone":null}"#));
    row(admin("u.phone").otherwise(Otherwise::Mask), "{ phone }", absent, null);
    row(admin("u.phone").otherwise(Otherwise::KeepLast(4)), "{ phone }", absent, null);
    // Whether it is there is not told.
    row(
        admin("u.phone").otherwise(Otherwise::Replace("*".into())),
        "{ phone }",
        absent,
        Ok(r#"{"phone":"*"}"#),
    );
    row(admin("u.phone"), "{ phone }", absent, Err("u.phone"));
}

#[test]
fn aliases_and_fragments_evade_no_rule() {
    let mask = || admin("u.email").otherwise(Otherwise::Mask);
    for (query, key) in [
        ("{ x: email }", "x"),
        ("{ ... { email } }", "email"),
        ("{ ... on User { email } }", "email"),
        ("{ ... on User { ... on Admin { x: email } } }", "x"),
    ] {
        let met = format!(r#"{{"{key}":"ada@example.org"}}"#);
        row(mask(), query, &met, Ok(&format!(r#"{{"{key}":null}}"#)));
        row(admin("u.email"), query, &met, Err("u.email"));
    }
    let gate = Access::new().rule(mask()).compile(None).unwrap();
    let query =
        "subscription { z: u { ...F } } fragment F on User { x: email ...G } fragment G on User { y: email }";
    let found = body(&gate, None, &reader("", ""), query, EVENT).unwrap();
    assert_eq!(found, r#"{"data":{"z":{"x":null,"y":null}}}"#);
    // The event names its type.
    let event = r#"{"__typename":"User","email":"x"}"#;
    let query = "subscription { u { ... on User { email } ... on Cat { email } } }";
    assert_eq!(body(&gate, None, &reader("", ""), query, event).unwrap(), r#"{"data":{"u":{"email":null}}}"#);
    // An alias that looks like the field is not the field.
    let query = "subscription { u { email: id } }";
    assert_eq!(body(&gate, None, &reader("", ""), query, EVENT).unwrap(), r#"{"data":{"u":{"email":7}}}"#);
}

#[test]
fn lists_are_passed_through() {
    let mask = admin("u.friends.email").otherwise(Otherwise::Mask);
    row(mask, "{ friends { email } }", FRIENDS, Ok(r#"{"friends":[{"email":null},null]}"#));
    let last = admin("u.friends.email").otherwise(Otherwise::KeepLast(3));
    row(last, "{ friends { email } }", FRIENDS, Ok(r#"{"friends":[{"email":"***org"},null]}"#));
}

#[test]
fn a_rule_holds_for_everything_inside_its_field() {
    let address = r#"{"address":{"city":"Paris"}}"#;
    let query = "{ address { city } }";
    row(admin("u.address"), query, address, Err("u.address"));
    row(admin("u.address").otherwise(Otherwise::Mask), query, address, Ok(r#"{"address":null}"#));
    let redacted = Ok(r#"{"address":{"city":"*"}}"#);
    row(admin("u.address").otherwise(Otherwise::Replace("*".into())), query, address, redacted);
    row(admin("u").otherwise(Otherwise::Replace("*".into())), query, address, redacted);
    row(admin("u").otherwise(Otherwise::Mask), query, address, Ok("null"));
    row(admin("u"), query, address, Err("u"));
}

#[test]
fn stars_stand_for_names() {
    let query = "{ id address { city } }";
    let whole = r#"{"id":7,"address":{"city":"Paris"}}"#;
    let row = |field, expected| row(admin(field).otherwise(Otherwise::Mask), query, whole, Ok(expected));
    row("u.*", r#"{"id":null,"address":null}"#);
    row("u.**", r#"{"id":null,"address":null}"#);
    row("u.*.city", r#"{"id":7,"address":{"city":null}}"#);
    row("*.id", r#"{"id":null,"address":{"city":"Paris"}}"#);
    row("u.address.*", r#"{"id":7,"address":{"city":null}}"#);
    row("u.address.**", r#"{"id":7,"address":{"city":null}}"#);
    row("u.id.**", whole);
    row("u.*.*.*", whole);
    row("v.*", whole);
    row("**", "null");
}

#[test]
fn an_object_without_selections_is_not_a_way_around() {
    let whole = r#"{"address":{"city":"Paris","street":"Rue 1"}}"#;
    let (gate, unmet) =
        (Access::new().rule(admin("u.address.street").otherwise(Otherwise::Mask)), reader("", ""));
    let gate = gate.compile(None).unwrap();
    let get = |reader: &_, query: &str, event: &str| body(&gate, None, reader, query, event).unwrap();
    let query = "subscription { u { address } }";
    assert_eq!(get(&reader("admin", ""), query, EVENT), format!(r#"{{"data":{{"u":{whole}}}}}"#));
    let refused = get(&unmet, query, EVENT);
    assert!(
        refused.starts_with(r#"{"data":{"u":{"address":null}},"errors":[{"message":"an object, of"#),
        "{refused}"
    );
    let refused = get(&unmet, "subscription { u }", EVENT);
    assert!(refused.starts_with(r#"{"data":{"u":null},"errors""#), "{refused}");
    assert!(!refused.contains("Rue") && !refused.contains("Paris"), "{refused}");
    let refused = get(&unmet, query, r#"{"address":[1,[{"street":"Rue"}]]}"#);
    assert!(!refused.contains("Rue"), "{refused}");
    for scalar in ["7", r#""{}""#, "[1,[null,true]]", "null"] {
        let event = format!(r#"{{"address":{scalar}}}"#);
        assert_eq!(get(&unmet, query, &event), format!(r#"{{"data":{{"u":{{"address":{scalar}}}}}}}"#));
    }
}

#[test]
fn of_a_text_only_its_end_is_kept() {
    let gate = Access::new().rule(admin("u.x").otherwise(Otherwise::KeepLast(4))).compile(None).unwrap();
    for (value, expected) in [
        (r#""12345""#, r#""***2345""#),
        (r#""1234""#, r#""***""#),
        (r#""12""#, r#""***""#),
        (r#""""#, r#""***""#),
        (r#""äöüß\u00e9\"""#, r#""***üßé\"""#),
        ("123456", r#""***3456""#),
        ("-1234", r#""***""#),
        ("1.23456", r#""***""#),
        ("true", r#""***""#),
        (r#"{"a":"123456"}"#, r#""***""#),
        (r#"["123456"]"#, r#""***""#),
        ("null", "null"),
    ] {
        let event = format!(r#"{{"x":{value}}}"#);
        let found = body(&gate, None, &reader("", ""), "subscription { u { x } }", &event).unwrap();
        assert_eq!(found, format!(r#"{{"data":{{"u":{{"x":{expected}}}}}}}"#), "{value}");
    }
}

#[test]
fn rules_add_up_in_any_order() {
    let rules = [
        admin("u.email").otherwise(Otherwise::KeepLast(3)),
        Rule::at("u.email").any_role(["clerk"]).otherwise(Otherwise::KeepLast(5)),
        Rule::at("*.email").any_scope(["mail"]).otherwise(Otherwise::Replace("*".into())),
        Rule::at("u.*").any_role(["staff"]).otherwise(Otherwise::Mask),
        Rule::at("u").any_role(["user"]),
    ];
    for backwards in [false, true] {
        let mut rules = rules.to_vec();
        if backwards {
            rules.reverse();
        }
        let gate = Access { rules, deny_by_default: false }.compile(None).unwrap();
        for (roles, scopes, expected) in [
            ("user staff clerk admin", "mail", Ok(r#""ada@example.org""#)),
            ("user staff clerk", "mail", Ok(r#""***org""#)),
            ("user staff admin", "mail", Ok(r#""***e.org""#)),
            ("user staff", "mail", Ok(r#""***org""#)),
            ("user staff", "", Ok(r#""*""#)),
            ("user", "", Ok("null")),
            ("", "", Err("u".to_owned())),
        ] {
            let found = body(&gate, None, &reader(roles, scopes), "subscription { u { email } }", EVENT);
            let expected = expected.map(|email| format!(r#"{{"data":{{"u":{{"email":{email}}}}}}}"#));
            assert_eq!(found, expected, "{roles}, {scopes}");
        }
    }
}

#[test]
fn roles_and_scopes_are_asked_for_one_or_all() {
    let row = |rule: Rule, met: &[(&str, &str)], unmet: &[(&str, &str)]| {
        for (readers, expected) in [(met, true), (unmet, false)] {
            for (roles, scopes) in readers {
                assert_eq!(
                    rule.is_met(&words(roles), &words(scopes)),
                    expected,
                    "{rule:?}: {roles}, {scopes}"
                );
            }
        }
    };
    let rule = || Rule::at("u");
    row(
        rule().any_role(["a", "b"]),
        &[("a", ""), ("x b", "")],
        &[("", ""), ("A", ""), ("", "a"), ("ab", "")],
    );
    row(rule().all_roles(["a", "b"]), &[("b a", ""), ("x a b", "")], &[("", ""), ("a", ""), ("b", "a")]);
    row(rule().any_scope(["a", "b"]), &[("", "a"), ("", "x b")], &[("", ""), ("a", "")]);
    row(rule().all_scopes(["a", "b"]), &[("", "b a")], &[("", "a"), ("a b", "")]);
    row(rule().any_role(["a"]).all_scopes(["b"]), &[("a", "b")], &[("a", ""), ("", "b"), ("b", "a")]);
    row(rule().public(), &[("", ""), ("a", "b")], &[]);
    row(rule().otherwise(Otherwise::Mask), &[], &[("", ""), ("a", "b")]);
}

#[test]
fn what_documents_tell_of_their_type_is_a_field() {
    let gate = Access::new().rule(admin("u.__typename").otherwise(Otherwise::Mask)).compile(None).unwrap();
    let event = r#"{"__typename":"Secret","id":7}"#;
    let get = |query| body(&gate, None, &reader("", ""), query, event);
    assert_eq!(
        get("subscription { u { id t: __typename } }").unwrap(),
        r#"{"data":{"u":{"id":7,"t":null}}}"#
    );
    // Which fields come would tell it.
    let refused = get("subscription { u { ... on Secret { id } } }");
    assert_eq!(refused, Err("u.__typename".into()));
}

#[test]
fn what_has_no_rule_may_be_denied() {
    let rules = Access::new().rule(admin("u.id")).rule(Rule::at("u.address.city").public());
    let gate = rules.deny_by_default(true).compile(None).unwrap();
    let get = |roles: &str, query: &str| body(&gate, None, &reader(roles, ""), query, EVENT);
    let ok = |data: &str| Ok(format!(r#"{{"data":{{"u":{data}}}}}"#));
    assert_eq!(get("admin", "subscription { u { id } }"), ok(r#"{"id":7}"#));
    assert_eq!(get("", "subscription { u { id } }"), Err("u.id".into()));
    assert_eq!(get("", "subscription { u { address { city } } }"), ok(r#"{"address":{"city":"Paris"}}"#));
    for (query, refused) in [
        ("subscription { u { email } }", "u.email"),
        ("subscription { u { id: email } }", "u.email"),
        ("subscription { u { address { street } } }", "u.address.street"),
        ("subscription { u { address } }", "u.address"),
        ("subscription { u }", "u"),
        ("subscription { v { id } }", "v"),
    ] {
        assert_eq!(get("admin", query), Err(refused.into()), "{query}");
    }
    let typed =
        body(&gate, None, &reader("", ""), "subscription { u { __typename } }", r#"{"__typename":"T"}"#);
    assert_eq!(typed, ok(r#"{"__typename":"T"}"#));
    // A rule for a field is none for what is in it.
    let held = |rule: &str, met: &str| {
        let gate = Access::new().rule(Rule::at("u").public()).rule(Rule::at(rule).any_role(["admin"]));
        let gate = gate.deny_by_default(true).compile(None).unwrap();
        body(&gate, None, &reader(met, ""), "subscription { u { address } }", EVENT)
            .is_ok_and(|b| b.contains("Paris"))
    };
    assert!(!held("u.address", "admin"));
    assert!(!held("u.address.*", "admin"));
    assert!(held("u.**", "admin"));
    assert!(!held("u.**", ""));
}

#[test]
fn filters_may_name_what_may_be_read() {
    let rules = Access::new()
        .rule(admin("u.email"))
        .rule(admin("u.card").otherwise(Otherwise::KeepLast(4)))
        .rule(admin("u.address.street").otherwise(Otherwise::Mask));
    let gate = rules.compile(None).unwrap();
    let may = |path: &str, roles: &str| gate.may_read(path, &words(roles), &[]);
    for path in ["u.id", "u.address.city", "u.friends.0.email", "v.email", "u.emails"] {
        assert!(may(path, "") && may(path, "admin"), "{path}");
    }
    // What is shown in part, and an object with a hidden part, would be told by comparing.
    for path in
        ["u.email", "u.email.x", "u.card", "u.address", "u.address.street", "u", "u.address.0.street.1"]
    {
        assert!(!may(path, "") && may(path, "admin"), "{path}");
    }
    for path in ["", ".", "u.", "u..id", "u.a b", "u.*", "u[0]", "0"] {
        assert!(!may(path, "admin"), "{path}");
    }
    assert!(Access::new().compile(None).unwrap().may_read("anything", &[], &[]));
    let strict = Access::new().rule(Rule::at("u.a").public()).rule(Rule::at("u.b").public());
    let strict = strict.rule(Rule::at("u.b.**").public()).deny_by_default(true).compile(None).unwrap();
    let may = |path| strict.may_read(path, &[], &[]);
    assert!(may("u.b") && may("u.b.c.d"));
    assert!(!may("u.a") && !may("u.a.c") && !may("u") && !may("v"), "an object there would be read");
}
