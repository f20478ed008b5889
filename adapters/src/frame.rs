//! What a reader gets as `MessagePack`, for consumers that ask for it.
//!
//! A `next` message is a map of three entries, in this order: `"type"`, the str `"next"`; `"id"`, the subscription's
//! id; `"payload"`, the execution result. The result is its JSON text value for value, keys in the order of the text,
//! each in its shortest encoding:
//!
//! | JSON | `MessagePack` |
//! |---|---|
//! | null, true, false | nil, true, false |
//! | string | str |
//! | array, object | array, map with str keys |
//! | integer that fits 64 bits, signed or not | integer |
//! | any other number, and `-0` | float 64: the nearest double |
//!
//! Numbers are what `serde_json` and every JavaScript client read in the JSON text: integers beyond 64 bits lose digits.
//! Who needs them reads the JSON text, or has the event carry them as strings. A str in the place of a number was not
//! chosen: a field's type would depend on its value. A number beyond the doubles (`1e999`) has no encoding and is an
//! error.
//!
//! `MessagePack` is not faster to make here: bodies are rendered once as JSON, and [`encode`] reads that text, copies it
//! once and writes it anew, O(length). Where many readers share a body, [`body`] makes it once for all, and [`head`] what
//! stands before it: they are joined by writing one after the other.
//!
//! ```
//! use coulis::engine::{Engine, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::subscriber::SubscriberOptions;
//! use coulis_adapters::frame;
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mut reader = engine.open(SubscriberOptions::default())?;
//! let (id, query) = ("s".into(), "subscription { orders { id } }".into());
//! engine.subscribe(&mut reader, SubscribeRequest { id, query, ..Default::default() })?;
//! engine.publish(Event::new("added", "orders", br#"{"id": 7}"#.to_vec(), engine.limits())?)?.wait();
//!
//! let mut frames = Vec::new();
//! reader.drain(64, |delivery| {
//!     let mut frame = Vec::new();
//!     match frame::encode(&delivery, &mut frame) {
//!         Ok(()) => frames.push(frame),
//!         Err(error) => eprintln!("{}: {error}", delivery.id),
//!     }
//! });
//! assert!(frames[0].starts_with(b"\x83\xa4type\xa4next\xa2id\xa1s\xa7payload\x82\xa4data\x81\xa6orders\x81\xa2id\x07"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{borrow::Cow, fmt};

use coulis::{
    subscriber::{Content, Delivery},
    value::{Document, DocumentError, Kind, Node},
};
use rmp_serde::Serializer;
use serde::{
    Serialize,
    ser::{Error as _, SerializeMap as _, SerializeSeq as _},
};

/// Nesting of a body that is encoded. An event nests by `event_depth_max` at most, which is 128 unless it was raised.
pub const DEPTH_MAX: usize = 512;

/// Characters of a number that an error shows.
const SHOWN_CHARS_MAX: usize = 64;

/// Why a body has no `MessagePack` form; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The body is not JSON, or nests deeper than [`DEPTH_MAX`].
    Body(DocumentError),
    /// The text says which value cannot be written.
    Value(String),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Value(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for FrameError {}

/// Appends a delivery as a `next` message: a result, or the notice of a gap or a resumption.
///
/// # Errors
/// A number beyond the doubles, or nesting beyond [`DEPTH_MAX`]. `out` is then as it was, and the delivery's JSON form
/// ([`Delivery::write_next`]) is still to be had.
pub fn encode(delivery: &Delivery<'_>, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let json: Cow<'_, [u8]> = match delivery.content {
        Content::Result(payload) => payload.body().into(),
        Content::Gap(gap) | Content::Ended(gap) => gap.body().into_bytes().into(),
        Content::Resumed(resumed) => resumed.body().into_bytes().into(),
        Content::Closed(end) => end.body().into_bytes().into(),
    };
    let start = out.len();
    head(delivery.id, out);
    body(&json, out).inspect_err(|_| out.truncate(start))
}

/// Appends what stands in a `next` message before its body.
pub fn head(id: &str, out: &mut Vec<u8>) {
    out.reserve(id.len() + 32);
    out.extend_from_slice(b"\x83\xa4type\xa4next\xa2id");
    // Writing a text into a vector cannot fail.
    _ = id.serialize(&mut Serializer::new(&mut *out));
    out.extend_from_slice(b"\xa7payload");
}

/// Appends the `MessagePack` form of a JSON text, such as [`coulis::payload::Payload::body`].
///
/// # Errors
/// As [`encode`], and a text that is not JSON. `out` is then as it was.
pub fn body(json: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let document = Document::parse_bytes(json.to_vec(), DEPTH_MAX).map_err(FrameError::Body)?;
    let start = out.len();
    out.reserve(json.len());
    Json(document.root()).serialize(&mut Serializer::new(&mut *out)).map_err(|error| {
        out.truncate(start);
        FrameError::Value(error.to_string())
    })
}

/// A value of a document, as serde sees it. Recursion is bounded by [`DEPTH_MAX`].
struct Json<'a>(Node<'a>);

impl Serialize for Json<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(node) = *self;
        if let Some(entries) = node.entries() {
            let mut map = serializer.serialize_map(Some(entries.clone().count()))?;
            for (key, value) in entries {
                map.serialize_entry(&Json(key), &Json(value))?;
            }
            map.end()
        } else if let Some(items) = node.items() {
            let mut list = serializer.serialize_seq(Some(items.clone().count()))?;
            items.map(Json).try_for_each(|item| list.serialize_element(&item))?;
            list.end()
        } else if let Some(text) = node.as_str() {
            serializer.serialize_str(&text)
        } else if let Some(truth) = node.as_bool() {
            serializer.serialize_bool(truth)
        } else if node.is_null() {
            serializer.serialize_unit()
        } else {
            number(node, serializer)
        }
    }
}

fn number<S: serde::Serializer>(node: Node<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = node.raw();
    if node.kind() == Kind::Integer && text != "-0" {
        if let Some(number) = node.as_i64() {
            return serializer.serialize_i64(number);
        }
        if let Ok(number) = text.parse() {
            return serializer.serialize_u64(number);
        }
    }
    if let Some(number) = node.as_f64().filter(|number| number.is_finite()) {
        return serializer.serialize_f64(number);
    }
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    Err(S::Error::custom(format_args!(
        "the number `{shown}` is beyond the doubles: read the JSON form, or publish it as a string"
    )))
}

#[cfg(test)]
mod tests {
    use coulis::{
        id::{ChannelId, Offset},
        payload::Payload,
        subscriber::{Gap, GapReason, Reload, Resumed},
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn payload(body: &str) -> Payload {
        Payload::new(ChannelId(1), Offset(1), body.into())
    }

    fn delivery<'a>(id: &'a str, content: Content<'a>) -> Delivery<'a> {
        Delivery { id, id_json: "", content }
    }

    fn transcoded(json: &str) -> Result<Value, FrameError> {
        let mut out = Vec::new();
        body(json.as_bytes(), &mut out)?;
        Ok(rmp_serde::from_slice(&out).unwrap())
    }

    #[test]
    fn the_form_is_what_the_document_says() {
        let body = payload(r#"{"data":{"n":[1,-2,0.5,null,true,"\u00e9"]}}"#);
        let mut out = b"before ".to_vec();
        encode(&delivery("s-1", Content::Result(&body)), &mut out).unwrap();
        let start = b"before \x83\xa4type\xa4next\xa2id\xa3s-1\xa7payload".as_slice();
        let rest = b"\x81\xa4data\x81\xa1n\x96\x01\xfe\xcb\x3f\xe0\0\0\0\0\0\0\xc0\xc3\xa2\xc3\xa9";
        assert_eq!(out, [start, rest].concat());
    }

    #[test]
    fn notices_say_what_they_say_as_json() {
        let gap = Gap { from: Offset(3), to: None, count: 2, reason: GapReason::Rate };
        let resumed = Resumed { result: Err(Reload::Trimmed), cursor: "1.5eed.2.1f".parse().ok() };
        for content in [Content::Gap(gap), Content::Ended(gap), Content::Resumed(resumed)] {
            let delivery = Delivery { id: "a\"", id_json: r#""a\"""#, content };
            let (mut json, mut frame) = (Vec::new(), Vec::new());
            delivery.write_next(&mut json);
            encode(&delivery, &mut frame).unwrap();
            let json: Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(rmp_serde::from_slice::<Value>(&frame).unwrap(), json);
            assert_eq!(json["id"], "a\"");
        }
    }

    #[test]
    fn numbers_are_what_serde_json_reads() {
        for text in [
            "0",
            "-0",
            "-1",
            "127",
            "128",
            "-32",
            "-33",
            "65536",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "1.0",
            "-0.0",
            "1e3",
            "1e-999",
            "0.1",
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(transcoded(text), Ok(expected), "{text}");
        }
        assert_eq!(transcoded("18446744073709551616"), Ok(json!(18_446_744_073_709_551_616.0)));
    }

    #[test]
    fn what_has_no_form_leaves_nothing_behind() {
        let long = format!("9{}", "0".repeat(400));
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        for text in [r#"{"a":[1,1e999]}"#, &long, &deep, "", "{", "\u{feff}1"] {
            let mut out = b"before".to_vec();
            let body = payload(text);
            assert!(encode(&delivery("s", Content::Result(&body)), &mut out).is_err(), "{text}");
            assert_eq!(out, b"before");
        }
        let error = transcoded("-1e999").unwrap_err().to_string();
        assert!(error.starts_with("the number `-1e999` is beyond the doubles"), "{error}");
        assert!(transcoded(&long).unwrap_err().to_string().len() < 200, "an error is short");
    }

    #[test]
    fn the_deepest_body_is_read_by_others() {
        let deep = r#"{"a":"#.repeat(DEPTH_MAX) + "1" + &"}".repeat(DEPTH_MAX);
        let mut out = Vec::new();
        body(deep.as_bytes(), &mut out).unwrap();
        rmp_serde::from_slice::<serde::de::IgnoredAny>(&out).unwrap();
        assert_eq!(out, [b"\x81\xa1a".repeat(DEPTH_MAX), vec![1]].concat());
    }

    #[test]
    fn a_body_is_made_once_for_all() {
        let shared = payload(r#"{"data":null}"#);
        let mut made = Vec::new();
        body(shared.body(), &mut made).unwrap();
        for id in ["a", &"b".repeat(40)] {
            let (mut joined, mut whole) = (Vec::new(), Vec::new());
            head(id, &mut joined);
            joined.extend_from_slice(&made);
            encode(&delivery(id, Content::Result(&shared)), &mut whole).unwrap();
            assert_eq!(joined, whole);
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i8>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
        ];
        let text = prop_oneof![any::<String>(), "[a\"\\\\\n\u{1}é🦀]{0,300}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            number,
            text.clone().prop_map(Value::from)
        ];
        leaf.prop_recursive(6, 200, 20, move |inner| {
            let entries = prop::collection::btree_map(text.clone(), inner.clone(), 0..20);
            prop_oneof![
                prop::collection::vec(inner, 0..20).prop_map(Value::from),
                entries.prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Against the value itself, not the text read again: `serde_json` may read a double one bit off.
        #[test]
        fn any_value_comes_back_as_it_was(value in values()) {
            let plain = transcoded(&value.to_string()).unwrap();
            prop_assert_eq!(&plain, &value);
            let spaced = transcoded(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
            prop_assert_eq!(&spaced, &value);
        }

        #[test]
        fn whatever_is_encoded_is_json(text in r#"[\[\]{}",:0-9a-e.\\ +-]{0,24}"#) {
            let mut out = Vec::new();
            match body(text.as_bytes(), &mut out) {
                Ok(()) => prop_assert!(serde_json::from_str::<Value>(&text).is_ok()),
                Err(_) => prop_assert!(out.is_empty()),
            }
        }
    }
}
