//! Who may read which field: live, from a resolver and replayed; random selections, rules and readers.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::{collections::HashSet, fmt::Write as _, sync::Arc, time::Duration};

use coulis::{
    engine::{BuildError, Engine, Job, Resolve, SubscribeError, SubscribeRequest},
    id::Identity,
    security::{
        SecurityContext, VariableScope,
        access::{Access, Otherwise, Rule},
    },
    subscriber::{OwnedContent, Subscriber, SubscriberOptions},
    value::Value,
};
use coulis_tests::{build, event, publish, read, reader, request};
use proptest::prelude::*;
use serde_json::Value as Json;

/// Answers with the event's document, in the shape of the query or as it is.
#[derive(Debug)]
struct Echo {
    wrapped: bool,
}

impl Resolve for Echo {
    fn resolve(&self, job: Job) -> Result<(), Job> {
        let text = job.event().document().text();
        let text = if self.wrapped { format!(r#"{{"r":{text}}}"#) } else { text.to_owned() };
        job.answer(Ok(text.into_bytes()));
        Ok(())
    }

    fn is_async(&self) -> bool {
        false
    }
}

/// A subscription of `query` with roles and scopes, in words.
fn asks(id: &str, query: &str, roles: &str, scopes: &str) -> SubscribeRequest {
    let words = |words: &str| words.split_whitespace().map(Box::from).collect();
    let context =
        SecurityContext { roles: words(roles), scopes: words(scopes), ..SecurityContext::default() };
    SubscribeRequest { context, ..request(id, query) }
}

fn next(subscriber: &mut Subscriber) -> OwnedContent {
    subscriber.next_timeout(Duration::from_secs(60)).expect("a message").content
}

fn masked() -> Access {
    let rule = |field: &str, role: &str| Rule::at(field).any_role([role]).otherwise(Otherwise::Mask);
    Access::new().rule(rule("r.a", "a")).rule(rule("r.b", "b"))
}

#[test]
fn only_readers_with_equal_rights_share_a_body() {
    for (resolver, shards) in [(false, 1), (true, 1), (false, 4), (true, 4)] {
        let engine = build(Engine::builder().shards(shards).access(masked()));
        let resolver = resolver.then(|| Arc::new(Echo { wrapped: false }) as Arc<dyn Resolve>);
        let query = "subscription { r { a b } }";
        let rows = [
            ("", "null", "null"),
            ("c", "null", "null"),
            ("a", "1", "null"),
            ("x a", "1", "null"),
            ("b", "null", "2"),
            ("a b", "1", "2"),
        ];
        let mut bodies = HashSet::new();
        // One after the other, so that all of them are on the same shard, or each on another.
        let mut readers: Vec<_> = rows
            .iter()
            .map(|(roles, ..)| {
                let wish = SubscribeRequest { resolver: resolver.clone(), ..asks("s", query, roles, "") };
                reader(&engine, [wish])
            })
            .collect();
        publish(&engine, event("r", r#"{"a":1,"b":2}"#));
        for ((roles, a, b), reader) in rows.iter().zip(&mut readers) {
            let OwnedContent::Result(payload) = next(reader) else { panic!("no result") };
            let body = String::from_utf8_lossy(payload.body()).into_owned();
            assert!(body.starts_with(&format!(r#"{{"data":{{"r":{{"a":{a},"b":{b}}}}}"#)), "{roles}: {body}");
            bodies.insert(body);
        }
        assert_eq!(bodies.len(), 4);
        let rendered = engine.metrics().rendered;
        assert!(if shards == 1 { rendered == 4 } else { (4..=6).contains(&rendered) }, "{rendered}");
    }
}

/// The twin: without rules, whoever asks the same gets the same.
#[test]
fn without_rules_all_share_a_body() {
    let engine = build(Engine::builder().shards(1));
    let query = "subscription { r { a b } }";
    let _readers = ["", "a", "a b"].map(|roles| reader(&engine, [asks("s", query, roles, "")]));
    publish(&engine, event("r", r#"{"a":1,"b":2}"#));
    assert_eq!(engine.metrics().rendered, 1);
}

#[test]
fn what_is_refused_is_told_by_name_and_registers_nothing() {
    let access =
        Access::new().rule(Rule::at("r.card").any_role(["clerk"])).required_scopes("orders", ["read"]);
    for shards in [1, 4] {
        let engine = build(Engine::builder().shards(shards).access(access.clone()));
        let mut reader = engine.open(SubscriberOptions::default()).unwrap();
        let mut refused = |query, roles, scopes| {
            let error = engine.subscribe(&mut reader, asks("s", query, roles, scopes)).unwrap_err();
            (error.code(), error.to_string())
        };
        let told = ("FORBIDDEN_FIELD", "the field `r.card` may not be read: leave it out".to_owned());
        assert_eq!(refused("subscription { r { number: card } }", "", "clerk read"), told);
        let (code, message) = refused("subscription { orders { id } }", "clerk", "reads");
        assert!(code == "FORBIDDEN_FIELD" && message.contains("`orders`"), "{message}");
        assert_eq!((engine.metrics().subscriptions, engine.metrics().refused), (0, 2));
        engine.subscribe(&mut reader, asks("s", "subscription { r { card } }", "clerk", "")).unwrap();
        engine.subscribe(&mut reader, asks("t", "subscription { orders { id } }", "", "read")).unwrap();
        publish(&engine, event("orders", r#"{"id":1}"#));
        assert_eq!(read(&mut reader), [r#"t {"data":{"orders":{"id":1}}}"#]);
        assert!(engine.gate().may_read("orders.id", &[], &["read".into()]));
        assert!(!engine.gate().may_read("orders.id", &[], &[]));
    }
}

#[test]
fn rules_that_cannot_be_are_no_engine() {
    for field in ["r..a", "User.email"] {
        let built = Engine::builder().access(Access::new().rule(Rule::at(field).any_role(["x"]))).build();
        let Err(BuildError::Access(error)) = built else { panic!("{field}: {built:?}") };
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn variables_that_name_another_are_refused() {
    let query = "subscription ($userId: ID, $in: In, $n: Int = 8) { r(u: $userId, i: $in, n: $n) { x } }";
    let ask = |engine: &Engine, user: &str, variables: &str| {
        let variables = Value::parse(&mut variables.as_bytes().to_vec(), 64).unwrap();
        let context = SecurityContext::new(Identity::new(user), Identity::new("t"));
        let mut reader = engine.open(SubscriberOptions::default()).unwrap();
        let result =
            engine.subscribe(&mut reader, SubscribeRequest { context, variables, ..request("s", query) });
        result.map_err(|error| match error {
            SubscribeError::ForbiddenVariable { variable } => variable,
            error => panic!("{error}"),
        })
    };
    for shards in [1, 4] {
        let engine = build(Engine::builder().shards(shards));
        for variables in [r#"{"userId":7,"in":{"tenant_id":"t"}}"#, r#"{"userId":null}"#, "{}"] {
            assert_eq!(ask(&engine, "7", variables), Ok(()));
        }
        assert_eq!(ask(&engine, "7", r#"{"userId":8}"#), Err("userId".into()));
        assert_eq!(ask(&engine, "", r#"{"userId":"7"}"#), Err("userId".into()));
        assert_eq!(ask(&engine, "7", r#"{"in":{"by":[{"tenantId":8}]}}"#), Err("in.by.tenantId".into()));
        let open = build(Engine::builder().shards(shards).variable_scope(VariableScope::none()));
        assert_eq!(ask(&open, "7", r#"{"userId":8}"#), Ok(()));
        let scope = VariableScope { user: ["n".into()].into(), ..VariableScope::default() };
        let named = build(Engine::builder().shards(shards).variable_scope(scope));
        assert_eq!(ask(&named, "7", "{}"), Err("n".into()), "a default value of the document's");
    }
    let error = SubscribeError::ForbiddenVariable { variable: "userId".into() };
    assert_eq!(error.code(), "FORBIDDEN_VARIABLE");
}

#[test]
fn arguments_that_name_another_are_refused_by_whatever_variable_they_come() {
    let engine = build(Engine::builder().shards(1));
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let mut ask = |id: &str, query: &str| {
        let variables = Value::parse(&mut br#"{"u":"8"}"#.to_vec(), 64).unwrap();
        let context = SecurityContext::new(Identity::new("7"), None);
        let result =
            engine.subscribe(&mut reader, SubscribeRequest { context, variables, ..request(id, query) });
        result.map_err(|error| error.to_string())
    };
    let refused = |path: &str| Err(format!("`{path}` names another than you: leave it out"));
    assert_eq!(ask("a", r#"subscription { r(userId: "8") { x } }"#), refused("userId"));
    assert_eq!(ask("a", "subscription ($u: ID) { r(userId: $u) { x } }"), refused("userId"));
    assert_eq!(ask("a", r#"subscription { r(by: [{tenantId: "t"}]) { x } }"#), refused("by.tenantId"));
    assert_eq!(ask("a", "subscription { r(userId: 7) { x } }"), Ok(()));
    assert_eq!(ask("b", "subscription ($u: ID) { r(to: $u) { x } }"), Ok(()));
}

#[test]
fn a_new_token_of_another_user_ends_what_names_the_former() {
    let engine = build(Engine::builder().shards(1));
    let variables = Value::parse(&mut br#"{"userId":7}"#.to_vec(), 64).unwrap();
    let context = |user: &str| SecurityContext::new(Identity::new(user), None);
    let query = "subscription ($userId: ID) { x(of: $userId) { n } }";
    let asked = SubscribeRequest { context: context("7"), variables, ..request("a", query) };
    let mut reader = reader(&engine, [asked]);
    assert_eq!(reader.refresh(context("7")), 0);
    assert_eq!(reader.refresh(context("8")), 1);
    publish(&engine, event("x", r#"{"n":1}"#));
    let told = read(&mut reader);
    assert!(told.len() == 1 && told[0].contains("FORBIDDEN_VARIABLE"), "{told:?}");
}

/// Names with selections, and without.
const INNER: [&str; 2] = ["c", "d"];
const LEAVES: [&str; 2] = ["a", "b"];

#[derive(Clone, Debug)]
enum Select {
    /// With an alias or without.
    Leaf(&'static str, bool),
    Inner(&'static str, Vec<Select>),
    On(Option<&'static str>, Vec<Select>),
}

fn selections() -> impl Strategy<Value = Vec<Select>> {
    let leaf = (prop::sample::select(&LEAVES[..]), any::<bool>()).prop_map(|(name, x)| Select::Leaf(name, x));
    let one = leaf.prop_recursive(3, 16, 3, |one| {
        let set = || prop::collection::vec(one.clone(), 1..4);
        prop_oneof![
            3 => (prop::sample::select(&INNER[..]), set()).prop_map(|(name, set)| Select::Inner(name, set)),
            1 => (prop::option::of(Just("T")), set()).prop_map(|(on, set)| Select::On(on, set)),
        ]
    });
    prop::collection::vec(one, 1..4)
}

/// A tree of names whose leaves are `true`; canaries take their places.
fn events() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![4 => Just(Json::from(true)), 1 => Just(Json::Null)];
    let one = leaf.prop_recursive(4, 40, 4, |one| {
        let key = prop::sample::select(vec!["a", "b", "c", "d"]);
        prop_oneof![
            1 => prop::collection::vec(one.clone(), 0..3).prop_map(Json::from),
            3 => object(prop::collection::vec((key, one), 1..5)),
        ]
    });
    let all = (one.clone(), one.clone(), one.clone(), one);
    all.prop_map(|(a, b, c, d)| serde_json::json!({"a": a, "b": b, "c": c, "d": d}))
}

fn object(entries: impl Strategy<Value = Vec<(&'static str, Json)>>) -> impl Strategy<Value = Json> {
    entries.prop_map(|entries| entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A rule as the oracle knows it.
#[derive(Clone, Debug)]
struct Ruled {
    path: Vec<&'static str>,
    role: Option<&'static str>,
    scope: Option<&'static str>,
    otherwise: Otherwise,
}

fn rules() -> impl Strategy<Value = Vec<Ruled>> {
    let names = prop::sample::select(vec!["a", "b", "c", "d", "a", "b", "c", "d", "*"]);
    let path =
        (prop::collection::vec(names, 0..4), prop::bool::weighted(0.15)).prop_map(|(mut path, below)| {
            path.insert(0, "r");
            if below {
                path.push("**");
            }
            path
        });
    let word = || prop::option::of(prop::sample::select(vec!["x", "y"]));
    let otherwise = prop_oneof![
        1 => Just(Otherwise::Reject),
        3 => Just(Otherwise::Mask),
        1 => Just(Otherwise::Replace("*".into())),
        1 => (1..4_usize).prop_map(Otherwise::KeepLast),
    ];
    let rule = (path, word(), word(), otherwise);
    let rule = rule.prop_map(|(path, role, scope, otherwise)| Ruled { path, role, scope, otherwise });
    prop::collection::vec(rule, 0..5)
}

impl Ruled {
    fn rule(&self) -> Rule {
        let mut rule = Rule::at(self.path.join(".")).otherwise(self.otherwise.clone());
        if let Some(role) = self.role {
            rule = rule.any_role([role]);
        }
        if let Some(scope) = self.scope {
            rule = rule.all_scopes([scope]);
        }
        rule
    }

    fn met(&self, roles: &str, scopes: &str) -> bool {
        let has = |words: &str, word: &str| words.split(' ').any(|own| own == word);
        (self.role.is_some() || self.scope.is_some())
            && self.role.is_none_or(|role| has(roles, role))
            && self.scope.is_none_or(|scope| has(scopes, scope))
    }

    fn names(&self, path: &[&str]) -> bool {
        fn matches(rule: &[&str], path: &[&str]) -> bool {
            match (rule, path) {
                (["**"], [_, ..]) | ([], []) => true,
                ([own, rule @ ..], [name, path @ ..]) => (*own == "*" || own == name) && matches(rule, path),
                _ => false,
            }
        }
        matches(&self.path, path)
    }
}

/// What one reader may read, by the simplest reading of the rules.
struct Oracle<'a> {
    rules: &'a [Ruled],
    roles: &'a str,
    scopes: &'a str,
    deny: bool,
}

impl Oracle<'_> {
    fn unmet<'s>(&'s self, path: &'s [&str]) -> impl Iterator<Item = &'s Ruled> {
        self.rules.iter().filter(|rule| rule.names(path) && !rule.met(self.roles, self.scopes))
    }

    /// Whether a value at this path is hidden, by itself or with what it is in.
    fn hides(&self, path: &[&str]) -> bool {
        let unruled = self.deny && !self.rules.iter().any(|rule| rule.names(path));
        unruled || (1..=path.len()).any(|depth| self.unmet(&path[..depth]).next().is_some())
    }

    /// Whether a selected field refuses the subscription: it is asked for, and nothing around it is masked.
    fn refuses(&self, path: &[&str]) -> bool {
        let masked = |depth: usize| self.unmet(&path[..depth]).any(|rule| rule.otherwise == Otherwise::Mask);
        self.unmet(path).any(|rule| rule.otherwise == Otherwise::Reject) && !(1..path.len()).any(masked)
    }
}

/// Writes the selections, and lists the paths of fields they name and whether they are leaves.
fn write<'s>(
    set: &'s [Select],
    out: &mut String,
    path: &mut Vec<&'s str>,
    named: &mut Vec<(Vec<&'s str>, bool)>,
) {
    out.push_str("{ ");
    for one in set {
        match one {
            Select::Leaf(name, alias) => {
                path.push(name);
                named.push((path.clone(), true));
                path.pop();
                let alias = if *alias { format!("x{name}: ") } else { String::new() };
                write!(out, "{alias}{name} ").unwrap();
            }
            Select::Inner(name, set) => {
                path.push(name);
                named.push((path.clone(), false));
                write!(out, "{name} ").unwrap();
                write(set, out, path, named);
                path.pop();
            }
            Select::On(on, set) => {
                let on = on.map(|on| format!("on {on} ")).unwrap_or_default();
                write!(out, "... {on}").unwrap();
                write(set, out, path, named);
            }
        }
    }
    out.push_str("} ");
}

/// Puts canaries in the places of leaves, and lists each with its path.
fn canaries(value: &mut Json, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    match value {
        Json::Bool(_) => {
            let canary = format!("canary-{:03}-yranac", found.len());
            *value = Json::from(canary.clone());
            found.push((path.clone(), canary));
        }
        Json::Array(items) => items.iter_mut().for_each(|item| canaries(item, path, found)),
        Json::Object(entries) => {
            for (key, value) in entries {
                path.push(key.clone());
                canaries(value, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// What a reader gets of one event, by each way that there is.
fn bodies(engine: &Engine, wish: &SubscribeRequest, document: &str) -> Result<Vec<String>, SubscribeError> {
    // It learns where the channel stands, whatever is denied to others.
    let channels = vec!["r".into()];
    let position =
        SubscribeRequest { resume: Some(String::new()), channels, ..request("p", "subscription { z }") };
    let mut early = reader(engine, [position]);
    let OwnedContent::Resumed(present) = next(&mut early) else { panic!("no position") };
    let mut readers = Vec::new();
    for resolver in [None, Some(false), Some(true)] {
        let resolver = resolver.map(|wrapped| Arc::new(Echo { wrapped }) as Arc<dyn Resolve>);
        let mut reader = engine.open(SubscriberOptions::default()).unwrap();
        engine.subscribe(&mut reader, SubscribeRequest { resolver, ..wish.clone() })?;
        readers.push(reader);
    }
    publish(engine, event("r", document));
    let resume = present.cursor.map(|cursor| cursor.to_string());
    let mut late = reader(engine, [SubscribeRequest { resume, ..wish.clone() }]);
    assert!(matches!(next(&mut late), OwnedContent::Resumed(resumed) if resumed.result.is_ok()));
    readers.push(late);
    Ok(readers
        .iter_mut()
        .map(|reader| match next(reader) {
            OwnedContent::Result(payload) => String::from_utf8_lossy(payload.body()).into_owned(),
            other => panic!("{other:?}"),
        })
        .collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_rendered_that_may_not_be_read(
        set in selections(), mut document in events(), rules in rules(),
        roles in prop::sample::select(vec!["", "x", "y", "x y"]),
        scopes in prop::sample::select(vec!["", "x", "y", "x y"]),
        deny in prop::bool::weighted(0.2), shards in prop::sample::select(vec![1_usize, 4]),
    ) {
        let (mut query, mut named) = ("subscription { r ".to_owned(), vec![(vec!["r"], false)]);
        write(&set, &mut query, &mut vec!["r"], &mut named);
        query.push('}');
        let mut planted = Vec::new();
        canaries(&mut document, &mut vec!["r".to_owned()], &mut planted);

        let access = rules.iter().fold(Access::new(), |access, rule| access.rule(rule.rule()));
        let access = access.rule(Rule::at("z").public()).deny_by_default(deny);
        let engine = build(Engine::builder().shards(shards).access(access));
        let oracle = Oracle { rules: &rules, roles, scopes, deny };
        let refused = named.iter().any(|(path, _)| oracle.refuses(path));
        // Beside objects that hold hidden fields a value may be withheld with them.
        let withheld = |path: &[&str]| {
            let deeper = |rule: &Ruled| rule.path.len() > path.len() || rule.path.ends_with(&["**"]);
            deny || rules.iter().any(|rule| deeper(rule) && !rule.met(roles, scopes))
        };
        match bodies(&engine, &asks("s", &query, roles, scopes), &document.to_string()) {
            Err(SubscribeError::Forbidden { field }) => {
                let path: Vec<_> = field.split('.').collect();
                // A type condition reads the type.
                let typed = path.ends_with(&["__typename"]) && oracle.unmet(&path).next().is_some();
                let named = named.iter().any(|(named, _)| *named == path);
                prop_assert!(typed || (named && (refused || deny)), "{}: {}", query, field);
            }
            Err(error) => panic!("{query}: {error}"),
            Ok(bodies) => {
                prop_assert!(!refused, "{}", query);
                for (path, canary) in &planted {
                    let path: Vec<_> = path.iter().map(String::as_str).collect();
                    let selected = named.iter().any(|(own, leaf)| *leaf && *own == path);
                    for body in &bodies {
                        let shown = body.contains(canary.as_str());
                        prop_assert!(!(shown && oracle.hides(&path)), "{} of {}: {}", path.join("."), query, body);
                        let due = selected && !oracle.hides(&path) && !withheld(&path);
                        prop_assert!(shown || !due, "{} of {}: {}", path.join("."), query, body);
                    }
                }
            }
        }
    }
}
