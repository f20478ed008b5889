//! Writes server-sent events (HTML Living Standard, section 9.2) as "GraphQL over Server-Sent Events" has them.

use crate::value::quote;

/// A comment: a sign of life that no client takes for an event.
pub(super) const COMMENT: &[u8] = b":\n\n";

/// Appends the event `next` with an execution result. `cursor` becomes what a browser's `EventSource` sends back as
/// `Last-Event-ID`; `operation` is the id of an operation that shares its stream.
pub(super) fn write_next(out: &mut Vec<u8>, cursor: Option<&str>, operation: Option<&str>, result: &[u8]) {
    if let Some(cursor) = cursor {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(cursor.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"event: next\ndata: ");
    match operation {
        None => write_line(out, result),
        Some(id) => {
            out.extend_from_slice(format!(r#"{{"id":{},"payload":"#, quote(id)).as_bytes());
            write_line(out, result);
            out.push(b'}');
        }
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends the event `complete`. It has a line of data, without which browsers drop it.
pub(super) fn write_complete(out: &mut Vec<u8>, operation: Option<&str>) {
    out.extend_from_slice(b"event: complete\ndata:");
    if let Some(id) = operation {
        out.extend_from_slice(format!(r#" {{"id":{}}}"#, quote(id)).as_bytes());
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends a JSON text as one line: the ends of lines that it may have stand between its tokens, where a space means
/// the same.
pub(super) fn write_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    if json.iter().any(|&byte| ends_line(byte)) {
        out[start..].iter_mut().filter(|byte| ends_line(**byte)).for_each(|byte| *byte = b' ');
    }
}

fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_have_the_fields_of_the_protocol() {
        let next = written(|out| write_next(out, Some("1.a.0.1"), None, br#"{"data":{}}"#));
        assert_eq!(next, "id: 1.a.0.1\nevent: next\ndata: {\"data\":{}}\n\n");
        let next = written(|out| write_next(out, None, Some("a\"\n"), b"{}"));
        assert_eq!(next, "event: next\ndata: {\"id\":\"a\\\"\\n\",\"payload\":{}}\n\n");
        assert_eq!(written(|out| write_complete(out, None)), "event: complete\ndata:\n\n");
        let complete = written(|out| write_complete(out, Some("a\r")));
        assert_eq!(complete, "event: complete\ndata: {\"id\":\"a\\r\"}\n\n");
    }

    #[test]
    fn a_publisher_cannot_write_events_of_its_own() {
        let json = b"{\"data\":{\"a\":[1,\r\n\n2\r]}}";
        let next = written(|out| write_next(out, None, None, json));
        assert_eq!(next, "event: next\ndata: {\"data\":{\"a\":[1,   2 ]}}\n\n");
    }
}
