//! Who gets the same projection, and who another.

use super::*;

fn gate() -> Gate {
    let rules = Access::new()
        .rule(Rule::at("u.a").any_role(["a"]).otherwise(Otherwise::Mask))
        .rule(Rule::at("u.b").any_role(["b"]).otherwise(Otherwise::Mask))
        .rule(Rule::at("v.c").any_role(["c"]).otherwise(Otherwise::Mask));
    rules.compile(None).unwrap()
}

#[test]
fn a_hundred_thousand_readers_with_three_sets_of_rights_make_three_projections() {
    let gate = gate();
    let projection = projection("subscription { u { a b } }", None);
    // What does not matter makes no difference: not the name, nor a right to something else.
    let mut made = Vec::new();
    for number in 0..100_000 {
        let context = reader(&format!("r{} c {}", number % 10, ["", "a", "a b"][number % 3]), "");
        made.push(gate.project(&projection, &context).unwrap());
    }
    for (number, one) in made.iter().enumerate() {
        assert!(Arc::ptr_eq(one, &made[number % 3]), "{number}");
    }
    assert!(made[0] != made[1] && made[1] != made[2] && made[0] != made[2]);
    assert!(Arc::ptr_eq(&made[2], &projection), "who may read all gets what it asked for");
    assert_eq!(gate.kept(), (1, 3));
}

#[test]
fn what_is_hidden_is_part_of_equality() {
    let get = |otherwise| {
        let gate = Access::new().rule(Rule::at("u.a").otherwise(otherwise)).compile(None).unwrap();
        gate.project(&projection("subscription { u { a } }", None), &reader("", "")).unwrap()
    };
    let open = projection("subscription { u { a } }", None);
    let kinds = [
        Otherwise::Mask,
        Otherwise::Replace("*".into()),
        Otherwise::Replace("**".into()),
        Otherwise::KeepLast(1),
        Otherwise::KeepLast(2),
    ];
    for (at, one) in kinds.iter().enumerate() {
        assert_ne!(get(one.clone()), open);
        for (other_at, other) in kinds.iter().enumerate() {
            assert_eq!(get(one.clone()) == get(other.clone()), at == other_at, "{one:?}, {other:?}");
        }
    }
}

#[test]
fn refusals_are_kept_too_and_all_is_bounded() {
    let gate = Access::new().rule(Rule::at("u.a").any_role(["a"])).compile(None).unwrap();
    for number in 0..25_000 {
        let projection = projection(&format!("subscription {{ u {{ a x{number} }} }}"), None);
        assert_eq!(gate.project(&projection, &reader("", "")), Err(Refused::Field("u.a".into())));
        assert!(gate.kept().0 <= 10_000 && gate.kept().1 <= 10_000);
    }
    assert!(gate.kept().1 > 0);
}
