//! Who sees what: random policies, rules of isolation, rights to fields, readers and events, against an oracle.
//!
//! The oracle is written from the words of the documentation: it walks an expression of its own, which is printed as a
//! policy, and knows nothing of the engine. Each decision is asked on every way on which an event can reach a reader:
//! live and replayed, shaped by the engine and by a resolver, and read as the text of messages.
//!
//! `COULIS_SEED` and `COULIS_RUNS` make it a campaign, or repeat a run that failed.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::sync::Arc;

use coulis::{
    engine::{Engine, Job, Resolve, SubscribeRequest},
    event::Event,
    id::Identity,
    policy::standard::{Isolation, Tenancy},
    security::{
        ChannelRules, SecurityContext,
        access::{Access, Otherwise, Rule},
    },
    subscriber::{Subscriber, SubscriberOptions},
    value::Value,
};
use coulis_tests::{
    build,
    random::{Random, number},
    request,
};
use serde_json::{Map, Value as Json, json};

/// Keys of documents; those of the second list need a role of the same name.
const KEYS: [&str; 7] = ["n", "room", "level", "owner", "user_id", "tenant_id", "open"];
const GUARDED: [&str; 2] = ["secret", "note"];
const ROLES: [&str; 3] = ["secret", "note", "staff"];
const NAMES: [&str; 5] = ["t1", "t2", "7", "u1", ""];

/// A policy as the oracle knows it.
#[derive(Clone, Debug)]
enum Expr {
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Compare(Term, &'static str, Term),
    In(Term, Vec<Json>),
    HasRole(&'static str),
    Has(&'static str),
    StartsWith(&'static str, &'static str),
}

#[derive(Clone, Debug)]
enum Term {
    Event(&'static str),
    User,
    Tenant,
    Variable(&'static str),
    Constant(Json),
}

/// A value as policies see it: an id is a text that also equals the integer of its digits.
#[derive(Clone, Debug)]
enum Seen {
    Plain(Json),
    Id(String),
}

/// No answer, which is a no.
#[derive(Debug)]
struct NoAnswer;

type Answer<T> = Result<T, NoAnswer>;

/// One image of an event: its document, and the attributes that lie over it.
struct Image<'w> {
    document: &'w Json,
    tenant: Option<&'w str>,
    user: Option<&'w str>,
}

#[derive(Debug)]
struct Reader {
    tenant: String,
    user: String,
    roles: Vec<&'static str>,
    variables: Map<String, Json>,
    policy: Option<Expr>,
    filter: Option<Expr>,
}

#[derive(Clone, Debug)]
struct Told {
    document: Json,
    before: Option<Json>,
    tenant: &'static str,
    user: &'static str,
}

#[derive(Debug)]
struct World {
    strict: bool,
    owner: Option<&'static str>,
    channel_policy: Option<Expr>,
    selected: Vec<&'static str>,
    readers: Vec<Reader>,
    events: Vec<Told>,
}

impl Term {
    fn random(random: &mut Random) -> Self {
        match random.below(8) {
            0..5 => Self::Event(random.pick(&KEYS)),
            5 => Self::User,
            6 => Self::Tenant,
            _ => Self::Variable(random.pick(&["a", "b"])),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Event(key) => format!("event.{key}"),
            Self::User => "ctx.user_id".into(),
            Self::Tenant => "ctx.tenant_id".into(),
            Self::Variable(name) => format!("vars.{name}"),
            Self::Constant(value) => value.to_string(),
        }
    }

    fn value(&self, image: &Image<'_>, reader: &Reader) -> Answer<Seen> {
        let id = |text: &str| if text.is_empty() { Seen::Plain(Json::Null) } else { Seen::Id(text.into()) };
        match self {
            Self::Event(key) => image.field(key),
            Self::User => Ok(id(&reader.user)),
            Self::Tenant => Ok(id(&reader.tenant)),
            Self::Variable(name) => reader.variables.get(*name).cloned().map(Seen::Plain).ok_or(NoAnswer),
            Self::Constant(value) => Ok(Seen::Plain(value.clone())),
        }
    }
}

impl Image<'_> {
    /// A field of the event; attributes given at publish outrank it.
    fn field(&self, key: &str) -> Answer<Seen> {
        let attribute = match key {
            "tenant_id" => self.tenant,
            "user_id" => self.user,
            _ => None,
        };
        if let Some(attribute) = attribute {
            return Ok(Seen::Id(attribute.into()));
        }
        self.document.get(key).cloned().map(Seen::Plain).ok_or(NoAnswer)
    }

    /// Whom the document names under `key`: an empty text and null are nobody.
    fn named(&self, key: &str) -> Option<Seen> {
        let found = self.document.get(key).filter(|value| !value.is_null() && **value != json!(""));
        found.cloned().map(Seen::Plain)
    }
}

fn equal(left: &Seen, right: &Seen) -> bool {
    match (left, right) {
        (Seen::Id(left), Seen::Id(right)) => left == right,
        (Seen::Id(id), Seen::Plain(value)) | (Seen::Plain(value), Seen::Id(id)) => match value {
            Json::String(text) => text == id,
            Json::Number(number) => number.is_i64() && number.to_string() == *id,
            _ => false,
        },
        (Seen::Plain(Json::Number(left)), Seen::Plain(Json::Number(right))) => {
            left.as_f64() == right.as_f64()
        }
        (Seen::Plain(left), Seen::Plain(right)) => left == right,
    }
}

/// Whether `left < right`, of two of one kind that has an order.
fn less(left: &Seen, right: &Seen) -> Answer<bool> {
    let text = |seen: &Seen| match seen {
        Seen::Id(text) | Seen::Plain(Json::String(text)) => Some(text.clone()),
        Seen::Plain(_) => None,
    };
    if let (Some(left), Some(right)) = (text(left), text(right)) {
        return Ok(left < right);
    }
    match (left, right) {
        (Seen::Plain(Json::Number(left)), Seen::Plain(Json::Number(right))) => {
            Ok(left.as_f64() < right.as_f64())
        }
        (Seen::Plain(Json::Bool(left)), Seen::Plain(Json::Bool(right))) => Ok(!left & right),
        _ => Err(NoAnswer),
    }
}

impl Expr {
    fn random(random: &mut Random, depth: usize) -> Self {
        let half = |random: &mut Random| Box::new(Self::random(random, depth - 1));
        match random.below(if depth == 0 { 6 } else { 10 }) {
            0..3 => {
                let term = Term::random(random);
                let operator = random.pick(&["==", "==", "==", "!=", "<", ">="]);
                let against = match (&term, random.below(3)) {
                    // Both known when the subscription comes, and of a kind: then types are checked.
                    (Term::Event(_), 0) => Term::random(random),
                    // What has no order is refused when the subscription comes, too.
                    (Term::Event(_), _) if matches!(operator, "<" | ">=") => {
                        Term::Constant(json!(random.below(8)))
                    }
                    (Term::Event(_), _) => Term::Constant(value(random)),
                    _ => Term::Event(random.pick(&KEYS)),
                };
                Self::Compare(term, operator, against)
            }
            3 => {
                let count = 1 + random.below(3);
                Self::In(Term::Event(random.pick(&KEYS)), (0..count).map(|_| value(random)).collect())
            }
            4 if random.one_in(2) => Self::HasRole(random.pick(&ROLES)),
            4 => Self::StartsWith(random.pick(&KEYS), random.pick(&["t", "u", ""])),
            5 => Self::Has(random.pick(&KEYS)),
            6 | 7 => Self::And(half(random), half(random)),
            8 => Self::Or(half(random), half(random)),
            _ => Self::Not(half(random)),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::And(left, right) => format!("({} && {})", left.write(), right.write()),
            Self::Or(left, right) => format!("({} || {})", left.write(), right.write()),
            Self::Not(inner) => format!("!({})", inner.write()),
            Self::Compare(left, operator, right) => format!("{} {operator} {}", left.write(), right.write()),
            Self::In(term, values) => format!("{} in {}", term.write(), json!(values)),
            Self::HasRole(role) => format!("'{role}' in ctx.roles"),
            Self::Has(key) => format!("has(event.{key})"),
            Self::StartsWith(key, text) => format!("event.{key}.startsWith('{text}')"),
        }
    }

    fn holds(&self, image: &Image<'_>, reader: &Reader) -> Answer<bool> {
        match self {
            // What one side decides, the other's lack of an answer does not matter for.
            Self::And(left, right) => match (left.holds(image, reader), right.holds(image, reader)) {
                (Ok(false), _) | (_, Ok(false)) => Ok(false),
                (Ok(true), Ok(true)) => Ok(true),
                _ => Err(NoAnswer),
            },
            Self::Or(left, right) => match (left.holds(image, reader), right.holds(image, reader)) {
                (Ok(true), _) | (_, Ok(true)) => Ok(true),
                (Ok(false), Ok(false)) => Ok(false),
                _ => Err(NoAnswer),
            },
            Self::Not(inner) => inner.holds(image, reader).map(|holds| !holds),
            Self::Compare(left, operator, right) => {
                let (left, right) = (left.value(image, reader)?, right.value(image, reader)?);
                match *operator {
                    "==" => Ok(equal(&left, &right)),
                    "!=" => Ok(!equal(&left, &right)),
                    "<" => less(&left, &right),
                    _ => less(&left, &right).map(|less| !less),
                }
            }
            Self::In(term, values) => {
                let found = term.value(image, reader)?;
                Ok(values.iter().any(|value| equal(&found, &Seen::Plain(value.clone()))))
            }
            Self::HasRole(role) => Ok(reader.roles.contains(role)),
            Self::Has(key) => Ok(image.field(key).is_ok()),
            Self::StartsWith(key, start) => match image.field(key)? {
                Seen::Id(text) | Seen::Plain(Json::String(text)) => Ok(text.starts_with(start)),
                Seen::Plain(_) => Err(NoAnswer),
            },
        }
    }
}

fn value(random: &mut Random) -> Json {
    match random.below(8) {
        0 => Json::Null,
        1 => json!(random.one_in(2)),
        2 | 3 => json!(random.below(8)),
        4 => json!(0.5 + random.below(3) as f64),
        _ => json!(random.pick(&NAMES)),
    }
}

fn document(random: &mut Random) -> Json {
    let mut document = Map::new();
    for key in KEYS {
        // Names are rarer: what belongs to somebody is seen by few.
        let there =
            if key.ends_with("_id") || key == "owner" { random.one_in(5) } else { random.below(4) > 0 };
        if there {
            document.insert(key.into(), value(random));
        }
    }
    for key in GUARDED {
        document.insert(key.into(), json!(format!("canary {key}")));
    }
    Json::Object(document)
}

impl World {
    fn random(random: &mut Random) -> Self {
        let expr = |random: &mut Random| random.one_in(2).then(|| Expr::random(random, 2));
        let reader = |random: &mut Random| Reader {
            tenant: random.pick(&NAMES).into(),
            user: random.pick(&NAMES).into(),
            roles: ROLES.into_iter().filter(|_| random.one_in(2)).collect(),
            variables: ["a", "b"].into_iter().map(|name| (name.into(), value(random))).collect(),
            policy: expr(random),
            filter: random.one_in(3).then(|| Expr::random(random, 1)),
        };
        let told = |random: &mut Random| {
            let deleted = random.one_in(8);
            let before = (deleted || random.one_in(3)).then(|| document(random));
            Told {
                document: if deleted { Json::Null } else { document(random) },
                before: before.filter(|_| !random.one_in(8)),
                tenant: if random.one_in(3) { random.pick(&NAMES) } else { "" },
                user: if random.one_in(5) { random.pick(&NAMES) } else { "" },
            }
        };
        let mut selected: Vec<_> = KEYS.into_iter().chain(GUARDED).filter(|_| random.below(3) > 0).collect();
        selected.push("missing");
        Self {
            strict: random.one_in(3),
            owner: random.pick(&[Some("user_id"), Some("owner"), None]),
            channel_policy: random.one_in(4).then(|| Expr::random(random, 1)),
            selected,
            readers: (0..8).map(|_| reader(random)).collect(),
            events: (0..24).map(|_| told(random)).collect(),
        }
    }

    /// Whether `reader` may see an image of an event that belongs to `tenant` and `user`.
    fn admits(&self, reader: &Reader, image: &Image<'_>, tenant: Option<Seen>, user: Option<Seen>) -> bool {
        let own = |own: &str, found: Option<Seen>, permissive: bool| match found {
            Some(found) => !own.is_empty() && equal(&found, &Seen::Id(own.into())),
            None => permissive,
        };
        let all = [&self.channel_policy, &reader.policy, &reader.filter].into_iter().flatten();
        let mut answers = all.map(|expr| expr.holds(image, reader));
        own(&reader.tenant, tenant, !self.strict)
            && own(&reader.user, user, true)
            && answers.all(|answer| matches!(answer, Ok(true)))
    }

    /// What `reader` must get of an event: the data of its root field, or `None`.
    fn expected(&self, reader: &Reader, told: &Told) -> Option<Got> {
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        let id = |text: &'static str| given(text).map(|text| Seen::Id(text.into()));
        let (tenant, user) = (given(told.tenant), given(told.user));
        let new = Image { document: &told.document, tenant, user };
        // What is given at publish outranks the document; without an owner rule nobody owns it.
        let of_tenant = id(told.tenant).or(new.named("tenant_id"));
        let of_user = self.owner.and_then(|key| id(told.user).or(new.named(key)));
        if !told.document.is_null() && self.admits(reader, &new, of_tenant, of_user) {
            return Some(Got::Data(self.shown(reader, &told.document)));
        }
        // The old document outranks what was given, which tells of the new one.
        let before = told.before.as_ref()?;
        let over = |given: Option<&'static str>, key: &str| given.filter(|_| before.get(key).is_none());
        let old = Image { document: before, tenant: over(tenant, "tenant_id"), user: over(user, "user_id") };
        let of_tenant = old.named("tenant_id").or(id(told.tenant));
        let of_user = self.owner.and_then(|key| old.named(key).or(id(told.user)));
        self.admits(reader, &old, of_tenant, of_user).then_some(Got::Tombstone)
    }

    fn shown(&self, reader: &Reader, document: &Json) -> Json {
        let mut shown = Map::new();
        for key in &self.selected {
            let hidden = GUARDED.contains(key) && !reader.roles.contains(key);
            let value = document.get(*key).filter(|_| !hidden).cloned().unwrap_or_default();
            shown.insert((*key).into(), value);
        }
        Json::Object(shown)
    }

    fn engine(&self, shards: usize) -> Engine {
        let tenancy = if self.strict { Tenancy::Strict } else { Tenancy::Permissive };
        let isolation = Isolation { tenancy, owner: self.owner.map(Box::from), ..Isolation::default() };
        let policy = self.channel_policy.as_ref().map(|expr| expr.write().as_str().into());
        let rules = ChannelRules { isolation, policy };
        let guarded = |access: Access, key: &'static str| {
            let rule = Rule::at(format!("item.{key}")).any_role([key]).otherwise(Otherwise::Mask);
            access.rule(rule)
        };
        let access = GUARDED.into_iter().fold(Access::new(), guarded);
        build(Engine::builder().shards(shards).channel("item", rules).access(access))
    }

    fn event(&self, told: &Told, engine: &Engine) -> Event {
        let event = Event::new("told", "item", told.document.to_string().into(), engine.limits()).unwrap();
        let event = event.with_tenant(Identity::new(told.tenant)).with_user(Identity::new(told.user));
        match &told.before {
            Some(before) => event.with_before(before.to_string().into(), engine.limits()).unwrap(),
            None => event,
        }
    }

    /// A subscriber for a reader: shaped by the engine as `native`, by a resolver as `resolved`.
    fn subscribe(&self, engine: &Engine, reader: &Reader, resume: Option<&str>) -> Subscriber {
        let context = SecurityContext {
            roles: reader.roles.iter().map(|role| Box::from(*role)).collect(),
            ..SecurityContext::new(Identity::new(&reader.user), Identity::new(&reader.tenant))
        };
        let query = format!(
            "subscription($a: Any, $b: Any) {{ item(a: $a, b: $b) {{ {} }} }}",
            self.selected.join(" ")
        );
        let mut variables = json!(reader.variables).to_string().into_bytes();
        let variables = Value::parse(&mut variables, 8).unwrap();
        let texts = |expr: &Option<Expr>| expr.iter().map(|expr| expr.write().as_str().into()).collect();
        let mut subscriber = engine.open(SubscriberOptions::default()).unwrap();
        for (id, resolver) in [("native", None), ("resolved", Some(Arc::new(Echo) as Arc<dyn Resolve>))] {
            let request = SubscribeRequest {
                context: context.clone(),
                variables: variables.clone(),
                policies: texts(&reader.policy),
                filters: texts(&reader.filter),
                resume: resume.map(Into::into),
                resolver,
                ..request(id, &query)
            };
            engine.subscribe(&mut subscriber, request).unwrap();
        }
        subscriber
    }
}

/// Gives back the event, and more than was asked for.
#[derive(Debug)]
struct Echo;

impl Resolve for Echo {
    fn resolve(&self, job: Job) -> Result<(), Job> {
        let mut document: Json = serde_json::from_str(job.event().document().text()).unwrap();
        document["unasked"] = json!("canary");
        job.answer(Ok(document.to_string().into_bytes()));
        Ok(())
    }

    fn is_async(&self) -> bool {
        false
    }
}

/// What a reader got of one event.
#[derive(Clone, Debug, PartialEq)]
enum Got {
    Data(Json),
    Tombstone,
}

/// What a subscriber got, by subscription, with the first cursor.
fn read(subscriber: &mut Subscriber) -> [Vec<Got>; 2] {
    let mut got = [Vec::new(), Vec::new()];
    let mut text = Vec::new();
    while subscriber.drain(usize::MAX, |delivery| {
        text.clear();
        delivery.write_next(&mut text);
        let message: Json = serde_json::from_slice(&text).unwrap();
        let payload = &message["payload"];
        let coulis = &payload["extensions"]["coulis"];
        if let Some(resumed) = coulis.get("resumed") {
            assert_eq!(*resumed, true, "{message}");
            return;
        }
        assert!(payload.get("errors").is_none() && coulis.get("gap").is_none(), "{message}");
        let told = match coulis.get("tombstone") {
            Some(_) => {
                assert!(payload["data"]["item"].is_null(), "{message}");
                Got::Tombstone
            }
            None => Got::Data(payload["data"]["item"].clone()),
        };
        got[usize::from(message["id"] == "resolved")].push(told);
    }) > 0
    {}
    got
}

/// Runs one world; answers how many decisions were made, and how many of them let something through.
fn run(seed: u64) -> [u64; 2] {
    let mut random = Random(seed);
    let world = World::random(&mut random);
    let engine = world.engine(1 + (seed % 3) as usize);
    let mut live: Vec<_> =
        world.readers.iter().map(|reader| world.subscribe(&engine, reader, None)).collect();
    let start = {
        let mut probe = engine.open(SubscriberOptions::default()).unwrap();
        let resume = Some(String::new());
        engine
            .subscribe(&mut probe, SubscribeRequest { resume, ..request("p", "subscription { item }") })
            .unwrap();
        let mut cursor = None;
        while cursor.is_none() {
            probe.drain(1, |delivery| {
                let mut text = Vec::new();
                delivery.write_next(&mut text);
                let message: Json = serde_json::from_slice(&text).unwrap();
                cursor = message["payload"]["extensions"]["coulis"]["cursor"].as_str().map(String::from);
            });
        }
        cursor.unwrap()
    };
    for told in &world.events {
        engine.publish(world.event(told, &engine)).unwrap().wait();
    }
    let (mut decisions, mut admitted) = (0, 0);
    for (reader, subscriber) in world.readers.iter().zip(&mut live) {
        let expected: Vec<_> = world.events.iter().filter_map(|told| world.expected(reader, told)).collect();
        let mut check = |way: &str, got: [Vec<Got>; 2]| {
            for (got, shaped) in got.iter().zip(["native", "resolved"]) {
                assert_eq!(*got, expected, "{way}, {shaped}: {reader:#?} of {world:#?}");
                decisions += world.events.len() as u64;
                admitted += got.len() as u64;
            }
        };
        check("live", read(subscriber));
        let mut late = world.subscribe(&engine, reader, Some(&start));
        // The pinned thread may have the shard for a moment.
        let mut replayed = [Vec::new(), Vec::new()];
        while replayed.iter().any(|got| got.len() < expected.len()) {
            for (all, more) in replayed.iter_mut().zip(read(&mut late)) {
                all.extend(more);
            }
        }
        let more = read(&mut late);
        replayed.iter_mut().zip(more).for_each(|(all, more)| all.extend(more));
        check("replayed", replayed);
    }
    [decisions, admitted]
}

#[test]
fn nobody_sees_what_is_not_theirs_and_everybody_sees_what_is() {
    let (first, runs) = (number("COULIS_SEED", 1), number("COULIS_RUNS", 150));
    let (mut decisions, mut admitted) = (0, 0);
    for seed in first..first + runs {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let [more, of_them] =
            outcome.unwrap_or_else(|_| panic!("repeat with COULIS_SEED={seed} COULIS_RUNS=1"));
        (decisions, admitted) = (decisions + more, admitted + of_them);
    }
    println!("{decisions} decisions, {admitted} let something through");
    assert!(runs < 20 || (decisions / 10..decisions / 2).contains(&admitted), "{admitted} of {decisions}");
}
