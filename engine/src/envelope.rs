//! A body as a message of a protocol: the one place where bytes are copied for a reader.

use crate::value::write_string;

/// Appends `{"type":"next","id":…,"payload":…}` (graphql-transport-ws, message `Next`). `id` is the subscription's
/// id as JSON text, made once by [`crate::value::quote`]; `body` is the JSON text of an execution result.
///
/// ```
/// let mut out = Vec::new();
/// coulis::envelope::write_next(&mut out, r#""a""#, br#"{"data":{"n":1}}"#);
/// assert_eq!(out, br#"{"type":"next","id":"a","payload":{"data":{"n":1}}}"#);
/// ```
pub fn write_next(out: &mut Vec<u8>, id: &str, body: &[u8]) {
    append(out, &[br#"{"type":"next","id":"#, id.as_bytes(), br#","payload":"#, body, b"}"]);
}

/// Appends `{"type":"data","id":…,"payload":…}`, as [`write_next`] for the older sub-protocol `graphql-ws`.
pub fn write_data(out: &mut Vec<u8>, id: &str, body: &[u8]) {
    append(out, &[br#"{"type":"data","id":"#, id.as_bytes(), br#","payload":"#, body, b"}"]);
}

fn append(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends `{"type":"error","id":…,"payload":[…]}` (graphql-transport-ws, message `Error`) with one error.
pub fn write_error(out: &mut Vec<u8>, id: &str, code: &str, message: &str) {
    out.extend_from_slice(br#"{"type":"error","id":"#);
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(br#","payload":[{"message":"#);
    write_string(out, message);
    out.extend_from_slice(br#","extensions":{"code":"#);
    write_string(out, code);
    out.extend_from_slice(b"}}]}");
}
