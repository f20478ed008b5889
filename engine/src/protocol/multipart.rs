//! Writes the parts of a multipart subscription, protocol 1.0 of Apollo: `multipart/mixed` with `subscriptionSpec=1.0`.
//!
//! Each part is followed by the next delimiter at once: readers take a part for complete when they see that.

use super::sse::write_line;

/// What the answer begins with, before the first part.
pub(super) const OPENING: &[u8] = b"--graphql";

/// What follows the last delimiter at the end.
pub(super) const CLOSING: &[u8] = b"--\r\n";

/// Appends a part that says nothing: a sign of life.
pub(super) fn write_heartbeat(out: &mut Vec<u8>) {
    write_part(out, &[b"{}"]);
}

/// Appends a part with an execution result.
pub(super) fn write_result(out: &mut Vec<u8>, result: &[u8]) {
    write_part(out, &[br#"{"payload":"#, result, b"}"]);
}

/// Appends a part with what ended the subscription, a list in JSON; the closing follows.
pub(super) fn write_fatal(out: &mut Vec<u8>, errors: &str) {
    write_part(out, &[br#"{"payload":null,"errors":"#, errors.as_bytes(), b"}"]);
}

/// No text of the JSON can be taken for a delimiter: those begin with the end of a line, which it has not.
fn write_part(out: &mut Vec<u8>, json: &[&[u8]]) {
    out.extend_from_slice(b"\r\nContent-Type: application/json\r\n\r\n");
    for text in json {
        write_line(out, text);
    }
    out.extend_from_slice(b"\r\n--graphql");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::GraphQlError, protocol::write::graphql_errors};

    #[test]
    fn parts_are_delimited_whatever_their_content() {
        let mut out = OPENING.to_vec();
        write_heartbeat(&mut out);
        write_result(&mut out, b"{\"data\":[\"--graphql--\",\r\n-1]}");
        write_fatal(&mut out, &graphql_errors(&[GraphQlError::new("CODE", "\r\n--graphql--")]));
        out.extend_from_slice(CLOSING);
        let head = "\r\nContent-Type: application/json\r\n\r\n";
        let error = r#"{"message":"\r\n--graphql--","extensions":{"code":"CODE"}}"#;
        let parts = [
            "--graphql",
            &format!("{head}{{}}\r\n--graphql"),
            &format!("{head}{{\"payload\":{{\"data\":[\"--graphql--\",  -1]}}}}\r\n--graphql"),
            &format!("{head}{{\"payload\":null,\"errors\":[{error}]}}\r\n--graphql--\r\n"),
        ];
        assert_eq!(String::from_utf8(out).unwrap(), parts.concat());
    }
}
