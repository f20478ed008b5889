//! Random events under random selections, against the simplest rendering there is: one that walks two trees.

use std::fmt::Write;

use proptest::prelude::*;
use serde_json::{Map, Value as Json};

use super::render;

/// Few names, so that selections and events meet.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const TYPES: [&str; 2] = ["T", "U"];

/// A selection as the test writes it; the name of a field decides whether it has selections, so that all merge.
#[derive(Clone, Debug)]
enum Select {
    Leaf(&'static str, Option<&'static str>),
    Inner(&'static str, Vec<Select>),
    TypeName,
    On(Option<&'static str>, Option<bool>, Vec<Select>),
}

fn selections() -> impl Strategy<Value = Vec<Select>> {
    let key = prop::option::of(prop::sample::select(vec!["x", "y"]));
    let leaf = prop_oneof![
        4 => (prop::sample::select(&NAMES[..2]), key).prop_map(|(name, key)| {
            // An alias belongs to one field, or fields of one key would differ.
            Select::Leaf(name, key.map(|_| if name == "a" { "x" } else { "y" }))
        }),
        1 => Just(Select::TypeName),
    ];
    let one = leaf.prop_recursive(4, 24, 4, |one| {
        let set = prop::collection::vec(one, 1..4);
        let on = (
            prop::option::of(prop::sample::select(&TYPES[..])),
            prop::option::of(any::<bool>()),
            set.clone(),
        );
        prop_oneof![
            (prop::sample::select(&NAMES[2..]), set).prop_map(|(name, set)| Select::Inner(name, set)),
            on.prop_map(|(on, skip, set)| Select::On(on, skip, set)),
        ]
    });
    prop::collection::vec(one, 1..4)
}

fn events() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        "[a\"\\\\\n\u{e9}]{0,3}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 4, |one| {
        let keys = prop::sample::select(vec!["a", "b", "c", "d", "e"]);
        let name = prop::option::of(prop::sample::select(vec!["T", "U", "V"]));
        prop_oneof![
            prop::collection::vec(one.clone(), 0..3).prop_map(Json::from),
            (prop::collection::vec((keys, one), 0..5), name).prop_map(|(entries, name)| {
                let named = name.map(|name| ("__typename".to_owned(), Json::from(name)));
                Json::Object(
                    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(named).collect(),
                )
            }),
        ]
    })
}

fn write(set: &[Select], out: &mut String) {
    out.push_str("{ ");
    for one in set {
        match one {
            Select::Leaf(name, None) => write!(out, "{name} ").unwrap(),
            Select::Leaf(name, Some(key)) => write!(out, "{key}: {name} ").unwrap(),
            Select::TypeName => out.push_str("t: __typename "),
            Select::Inner(name, set) => {
                write!(out, "{name} ").unwrap();
                write(set, out);
            }
            Select::On(on, skip, set) => {
                out.push_str("... ");
                on.iter().for_each(|on| write!(out, "on {on} ").unwrap());
                skip.iter().for_each(|skip| write!(out, "@skip(if: {skip}) ").unwrap());
                write(set, out);
            }
        }
    }
    out.push_str("} ");
}

/// The fields that hold for a type, in the order of their first mention, each with its merged selections.
fn collect<'s>(set: &'s [Select], ty: Option<&str>, into: &mut Vec<(&'s str, &'s str, Vec<Select>)>) {
    for one in set {
        let (key, name, inner): (_, _, &[Select]) = match one {
            Select::Leaf(name, key) => (key.unwrap_or(name), *name, &[]),
            Select::TypeName => ("t", "__typename", &[]),
            Select::Inner(name, set) => (*name, *name, set),
            Select::On(_, Some(true), _) => continue,
            Select::On(on, _, set) => {
                if on.is_none_or(|on| ty.is_none_or(|ty| on == ty || names(set, ty))) {
                    collect(set, ty, into);
                }
                continue;
            }
        };
        match into.iter_mut().find(|(known, ..)| *known == key) {
            Some((.., merged)) => merged.extend_from_slice(inner),
            None => into.push((key, name, inner.to_vec())),
        }
    }
}

/// Whether a condition on `ty` stands in the set, outside its fields.
fn names(set: &[Select], ty: &str) -> bool {
    set.iter().any(|one| match one {
        Select::On(on, _, set) => on.is_some_and(|on| on == ty) || names(set, ty),
        _ => false,
    })
}

/// The value under the selections, and whether an error belongs beside it.
fn expected(value: &Json, set: &[Select], failed: &mut bool) -> Json {
    match value {
        Json::Null => Json::Null,
        Json::Array(items) => items.iter().map(|item| expected(item, set, failed)).collect(),
        Json::Object(entries) => {
            let (mut fields, mut out) = (Vec::new(), Map::new());
            collect(set, entries.get("__typename").and_then(Json::as_str), &mut fields);
            for (key, name, inner) in fields {
                let value = entries.get(name).unwrap_or(&Json::Null);
                *failed |= name == "__typename" && value.is_null();
                let value = if inner.is_empty() { value.clone() } else { expected(value, &inner, failed) };
                out.insert(key.to_owned(), value);
            }
            Json::Object(out)
        }
        _ => {
            *failed = true;
            Json::Null
        }
    }
}

proptest! {
    #[test]
    fn rendering_agrees_with_the_oracle(set in selections(), event in events()) {
        let mut text = "subscription { r ".to_owned();
        write(&set, &mut text);
        text.push('}');
        let body: Json = serde_json::from_str(&render(&text, None, "{}", &event.to_string())).unwrap();
        let mut failed = false;
        prop_assert_eq!(&body["data"]["r"], &expected(&event, &set, &mut failed), "{}", text);
        prop_assert_eq!(body.get("errors").is_some(), failed, "{}", text);
    }

    #[test]
    fn response_keys_keep_the_order_of_the_document(order in Just(NAMES).prop_shuffle()) {
        let text = format!("subscription {{ r {{ {} }} }}", order.join(" "));
        let keys: Vec<_> = order.iter().map(|name| format!(r#""{name}":null"#)).collect();
        let expected = format!(r#"{{"data":{{"r":{{{}}}}}}}"#, keys.join(","));
        prop_assert_eq!(render(&text, None, "{}", "{}"), expected);
    }
}
