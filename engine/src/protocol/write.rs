//! Writes what a server sends: each message of the protocol as one JSON text.

use crate::{
    error::{GraphQlError, Location},
    value::{Value, write_string},
};

/// Appends a `next` message: `{"id":…,"type":"next","payload":…}`. `body` is the JSON text of an execution result
/// and is copied as it is.
///
/// ```
/// let mut out = Vec::new();
/// coulis::protocol::write_next(&mut out, "a", br#"{"data":{"n":1}}"#);
/// assert_eq!(out, br#"{"id":"a","type":"next","payload":{"data":{"n":1}}}"#);
/// ```
pub fn write_next(out: &mut Vec<u8>, id: &str, body: &[u8]) {
    out.extend_from_slice(br#"{"id":"#);
    write_string(out, id);
    write_next_rest(out, body);
}

/// The same for an id that [`escape_id`] made once for many messages.
pub fn write_next_escaped(out: &mut Vec<u8>, escaped_id: &[u8], body: &[u8]) {
    out.extend_from_slice(br#"{"id":"#);
    out.extend_from_slice(escaped_id);
    write_next_rest(out, body);
}

/// `id` as a JSON string with its quotes.
pub fn escape_id(id: &str) -> Box<[u8]> {
    let mut out = Vec::with_capacity(id.len() + 2);
    write_string(&mut out, id);
    out.into_boxed_slice()
}

fn write_next_rest(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(br#","type":"next","payload":"#);
    out.extend_from_slice(body);
    out.push(b'}');
}

pub(super) fn connection_ack(payload: Option<&Value>) -> String {
    match payload {
        Some(payload) => format!(r#"{{"type":"connection_ack","payload":{payload}}}"#),
        None => r#"{"type":"connection_ack"}"#.into(),
    }
}

pub(super) fn ping() -> String {
    r#"{"type":"ping"}"#.into()
}

/// `payload` is a JSON text.
pub(super) fn pong(payload: Option<&str>) -> String {
    match payload {
        Some(payload) => format!(r#"{{"type":"pong","payload":{payload}}}"#),
        None => r#"{"type":"pong"}"#.into(),
    }
}

pub(super) fn complete(id: &str) -> String {
    format!(r#"{{"id":{},"type":"complete"}}"#, quoted(id))
}

pub(super) fn error(id: &str, errors: &[GraphQlError]) -> String {
    let errors: Vec<_> = errors.iter().map(graphql_error).collect();
    format!(r#"{{"id":{},"type":"error","payload":[{}]}}"#, quoted(id), errors.join(","))
}

/// One error as the GraphQL specification shapes it (section 7.1.2).
fn graphql_error(error: &GraphQlError) -> String {
    let (message, code) = (quoted(&error.message), quoted(error.code));
    format!(r#"{{"message":{message}{},"extensions":{{"code":{code}}}}}"#, locations(&error.locations))
}

fn locations(locations: &[Location]) -> String {
    if locations.is_empty() {
        return String::new();
    }
    let places: Vec<_> = locations
        .iter()
        .map(|Location { line, column }| format!(r#"{{"line":{line},"column":{column}}}"#))
        .collect();
    format!(r#","locations":[{}]"#, places.join(","))
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_next_are_the_same_bytes() {
        for id in ["a", "\"", "\u{1}\n", "__proto__", "é🦀", "\\"] {
            let (mut plain, mut escaped) = (Vec::new(), Vec::new());
            write_next(&mut plain, id, b"{}");
            write_next_escaped(&mut escaped, &escape_id(id), b"{}");
            assert_eq!(plain, escaped);
            let read: serde_json::Value = serde_json::from_slice(&plain).unwrap();
            assert_eq!(read, serde_json::json!({"id": id, "type": "next", "payload": {}}));
        }
    }

    #[test]
    fn an_error_has_its_places_and_its_code() {
        let mut error = GraphQlError::new("CODE", "a \"b\"");
        error.locations = vec![Location { line: 1, column: 2 }, Location { line: 3, column: 4 }];
        let text = super::error("i", &[error, GraphQlError::new("OTHER", "c")]);
        let place = r#"[{"line":1,"column":2},{"line":3,"column":4}]"#;
        let first = format!(r#"{{"message":"a \"b\"","locations":{place},"extensions":{{"code":"CODE"}}}}"#);
        let second = r#"{"message":"c","extensions":{"code":"OTHER"}}"#;
        assert_eq!(text, format!(r#"{{"id":"i","type":"error","payload":[{first},{second}]}}"#));
    }
}
