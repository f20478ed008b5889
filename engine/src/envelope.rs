//! A body as a message of a protocol: the one place where bytes are copied for a reader.

/// Appends `{"id":…,"type":"next","payload":…}` (graphql-transport-ws, message `Next`); `id` is JSON text.
pub fn write_next(out: &mut Vec<u8>, id: &str, body: &[u8]) {
    const PARTS: [&[u8]; 3] = [br#"{"id":"#, br#","type":"next","payload":"#, b"}"];
    out.reserve(PARTS.iter().map(|part| part.len()).sum::<usize>() + id.len() + body.len());
    for part in [PARTS[0], id.as_bytes(), PARTS[1], body, PARTS[2]] {
        out.extend_from_slice(part);
    }
}
