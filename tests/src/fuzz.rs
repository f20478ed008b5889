//! What must hold for any bytes: run by the fuzzer (`fuzz/`) on random ones, and by the tests on the kept ones.

mod policy;

use std::collections::HashSet;

use coulis::{
    limits::Limits,
    plan::{self, OperationName, Plan},
    protocol::{Action, Machine, Message},
    value::{Document, DocumentProblem, Kind, Node, Value},
};
use coulis_adapters::{
    redis::entry,
    wire::{self, WireEvent},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

pub use policy::{policy_program, policy_text};

/// Below the depth at which `serde_json` gives up.
const DEPTH_MAX: usize = 64;

/// A document is read exactly where `serde_json`, made to refuse duplicate keys, reads it, and says the same.
///
/// # Panics
/// If the two disagree.
pub fn document(bytes: &[u8]) {
    let read = Document::parse_bytes(bytes.to_vec(), DEPTH_MAX);
    let Some(oracle) = oracle(bytes) else { return };
    match (read, oracle) {
        (Ok(document), Ok(json)) => {
            assert!(same(document.root(), &json), "read as {document:?}, not {json:?}")
        }
        (Err(error), Ok(json)) => {
            assert!(matches!(error.problem, DocumentProblem::TooDeep(_)), "{error}, but it is {json:?}");
        }
        (Ok(document), Err(error)) => panic!("read as {document:?}, but {error}"),
        (Err(_), Err(_)) => {}
    }
}

/// A value that is read is written as a text that reads back as the same value, and as the same document.
///
/// # Panics
/// If it does not, or where the two readers disagree on what is JSON.
pub fn value(bytes: &[u8]) {
    let Ok(value) = Value::parse(&mut bytes.to_vec(), DEPTH_MAX) else { return };
    let mut text = Vec::new();
    value.write(&mut text);
    assert_eq!(Value::parse(&mut text.clone(), DEPTH_MAX).as_ref(), Ok(&value));
    for text in [bytes, &text] {
        Document::parse_bytes(text.to_vec(), DEPTH_MAX).expect("a value is a document");
    }
}

/// What is an event is exactly what its encoding is, and an event that the engine takes has a form of its own.
///
/// # Panics
/// If it is not.
pub fn wire(bytes: &[u8]) {
    let limits = Limits::default();
    let Ok(form) = wire::decode(bytes, &limits) else { return };
    assert_eq!(wire::encode(&form, &limits).as_deref(), Ok(bytes));
    if let Ok(event) = form.event(&limits) {
        assert_eq!(WireEvent::of(&event, "another id"), form);
    }
}

/// A connection survives any messages, one a line: it is never asked to subscribe before it is accepted, replies
/// are JSON, and after a close nothing is asked.
///
/// # Panics
/// If one of these breaks.
pub fn message(bytes: &[u8]) {
    let mut machine = Machine::new(&Limits::default());
    let mut accepted = false;
    let mut closed = false;
    for line in bytes.split(|byte| *byte == b'\n') {
        let message = if line == b"\0" { Message::Binary } else { Message::Text(line.to_vec()) };
        let action = machine.receive(message);
        assert!(!closed || action == Action::None, "{action:?} after a close");
        match action {
            Action::Authenticate { .. } => {
                assert!(!accepted, "asked to authenticate twice");
                accepted = true;
                assert_eq!(machine.accepted(None), None);
            }
            Action::Subscribe(subscribe) => {
                assert!(accepted, "a subscription before the acknowledgement");
                assert!(machine.is_open(&subscribe.operation));
            }
            Action::Complete(operation) => assert!(!machine.is_open(&operation)),
            Action::Close(_) => closed = true,
            Action::None => {}
        }
        while let Some(reply) = machine.next_reply() {
            Document::parse(reply, DEPTH_MAX).expect("a reply is JSON");
        }
    }
}

/// A GraphQL document is judged without a crash, errors name places inside it, and what is valid as a subscription
/// compiles and renders JSON.
///
/// # Panics
/// If one of these breaks.
pub fn graphql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let limits = Limits::default();
    let lines = text.split(['\n', '\r']).count();
    for error in plan::validate(text, None, None, None, &limits) {
        assert!(!error.message.is_empty());
        assert!(error.locations.iter().all(|place| (1..=lines).contains(&place.line)), "{error:?}");
    }
    let Ok(plan) = Plan::compile(text, &OperationName::Only, None, &limits) else { return };
    let Ok(bound) = plan.bind(&Value::Object(Vec::new()), &limits) else { return };
    let event = Document::parse(r#"{"id":1,"a":{"b":[{"c":null},"x"]}}"#, DEPTH_MAX).expect("an event");
    let mut body = Vec::new();
    if bound.projection.render(event.root(), &mut body, limits.body_bytes_max).is_ok() {
        Document::parse_bytes(body, DEPTH_MAX).expect("a body is JSON");
    }
}

/// The answer of a Redis server to a node that reads is judged without a crash, and every event in it is one that could
/// have been published here: it has an encoding, which reads back as the same.
///
/// # Panics
/// If one of these breaks.
pub fn redis_reply(bytes: &[u8]) {
    let limits = Limits::default();
    let Ok(entries) = entry::events(bytes, "{shop}:events", &limits) else { return };
    for event in entries.into_iter().flatten() {
        let id = event.id().expect("an event from a bus has a name");
        let form = WireEvent::of(&event, id);
        let bytes = wire::encode(&form, &limits).expect("an event that was read can be written");
        assert_eq!(wire::decode(&bytes, &limits), Ok(form));
    }
}

/// What `serde_json` reads; `None` where it has no opinion: numbers beyond a double are no fault of the text.
fn oracle(bytes: &[u8]) -> Option<serde_json::Result<Json>> {
    let json = serde_json::from_slice(bytes);
    match &json {
        Err(error)
            if ["out of range", "recursion limit"].iter().any(|own| error.to_string().contains(own)) =>
        {
            None
        }
        _ => Some(json),
    }
}

/// A JSON value without duplicate keys.
#[derive(Debug)]
enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Number(f64),
    String(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn same(node: Node<'_>, json: &Json) -> bool {
    match json {
        Json::Null => node.is_null(),
        Json::Bool(truth) => node.as_bool() == Some(*truth),
        // `-0` is an integer by its text, and a double for serde_json.
        Json::Int(number) => node.kind() == Kind::Integer && node.as_i64() == Some(*number),
        // serde_json rounds twice; we do not.
        Json::Number(number) => node.as_f64().is_some_and(|own| (own - number).abs() <= own.abs() * 1e-15),
        Json::String(text) => node.as_str().as_deref() == Some(text),
        Json::List(items) => node.items().is_some_and(|nodes| {
            nodes.clone().count() == items.len() && nodes.zip(items).all(|(node, item)| same(node, item))
        }),
        Json::Object(entries) => node.entries().is_some_and(|nodes| {
            nodes.clone().count() == entries.len()
                && nodes.zip(entries).all(|((key, node), (name, item))| key.is(name) && same(node, item))
                && entries.iter().all(|(name, item)| node.get(name).is_some_and(|found| same(found, item)))
        }),
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON without duplicate keys")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::Number(number as f64), Json::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        while let Some((key, value)) = object.next_entry::<String, Json>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom("a duplicate key"));
            }
            entries.push((key, value));
        }
        Ok(Json::Object(entries))
    }
}
