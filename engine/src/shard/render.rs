//! Step 7 of the road: one body for each (event, render), however many groups and members want it.

use std::{fmt, sync::Arc};

use super::{facts::Image, resolve::Resolve};
use crate::{
    cursor::Cursor,
    event::Stamped,
    id::{ChannelId, Offset},
    limits::Limits,
    metrics::Counters,
    payload::Payload,
    plan::Projection,
    value::{Document, Value, write_string},
};

/// How a body is made: a projection, of the event's document or of what a resolver made of it.
///
/// Two subscriptions share a `Render` only if the directory found all of this equal.
#[derive(Debug)]
pub(crate) struct Render {
    /// Never used twice.
    pub(crate) serial: u64,
    /// Its place among the renders of one index; used again when the render is gone.
    pub(crate) cell: u32,
    pub(crate) projection: Arc<Projection>,
    pub(crate) resolver: Option<Resolver>,
}

/// The host language's part of a render.
#[derive(Clone)]
pub(crate) struct Resolver {
    pub(crate) resolve: Arc<dyn Resolve>,
    /// Coerced variables, an object.
    pub(crate) variables: Arc<Value>,
    /// The id of the subscription that came first.
    pub(crate) subscription: Arc<str>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("resolve", &self.resolve).finish_non_exhaustive()
    }
}

/// The bodies of the event that is on its way, by the cell of their render.
#[derive(Debug)]
pub(super) struct Bodies {
    cells: Vec<(u64, Payload)>,
    /// The event's number in this shard: a body of another one is stale.
    now: u64,
    /// The end of a body that was rendered last, and the cursor that it tells.
    end: (Option<Cursor>, Vec<u8>),
    /// Whether there is a log, and so a cursor.
    cursors: bool,
    bytes_max: usize,
    depth_max: usize,
}

impl Bodies {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            cells: Vec::new(),
            now: 0,
            end: (None, Vec::new()),
            cursors: limits.log_events_max > 0,
            bytes_max: limits.body_bytes_max,
            depth_max: limits.event_depth_max,
        }
    }

    /// What was rendered so far belongs to an earlier event.
    pub(super) fn next_event(&mut self) {
        self.now += 1;
    }

    /// The body of the event's document under `render`; rendered at the first call for this event.
    pub(super) fn body(
        &mut self,
        render: &Render,
        event: &Stamped,
        image: Image,
        counters: &Counters,
    ) -> Payload {
        if image == Image::Old {
            return self.tombstone(render, event);
        }
        let cell = render.cell as usize;
        if let Some((now, body)) = self.cells.get(cell)
            && *now == self.now
        {
            return body.clone();
        }
        if self.cells.len() <= cell {
            self.cells.resize_with(cell + 1, || (0, Payload::lost(ChannelId::ANY, Offset(0))));
        }
        let body = self.render(render, event, event.event.document());
        counters.rendered.add_owned(1);
        self.cells[cell] = (self.now, body.clone());
        body
    }

    /// The body that tells a reader that what it could see is gone: `null`, and in the extensions what was selected of it.
    /// What a resolver would have shown is not known here.
    pub(super) fn tombstone(&mut self, render: &Render, event: &Stamped) -> Payload {
        let mut body = br#"{"data":{"#.to_vec();
        write_string(&mut body, render.projection.response_key());
        body.extend_from_slice(br#":null},"extensions":{"coulis":{"tombstone":"#);
        let start = body.len();
        let seen = event.event.before().filter(|_| render.resolver.is_none());
        let rendered = seen.map(|before| render.projection.render(before.root(), &mut body, self.bytes_max));
        if let Some(Ok(())) = rendered {
            // Without the braces of a whole result: `{"data":` and `}`.
            body.drain(start..start + br#"{"data":"#.len());
            body.pop();
        } else {
            body.truncate(start);
            body.extend_from_slice(b"true");
        }
        if self.cursors {
            body.extend_from_slice(format!(r#","cursor":"{}""#, event.cursor()).as_bytes());
        }
        body.extend_from_slice(b"}}}");
        Payload::new(event.channel, event.offset, body)
    }

    /// The body of a resolver's result, which is projected like a document: what was not selected never leaves. And whether
    /// there was a result.
    pub(super) fn resolved(
        &mut self,
        render: &Render,
        event: &Stamped,
        result: Result<Vec<u8>, String>,
        counters: &Counters,
    ) -> (Payload, bool) {
        let document = result.and_then(|json| {
            Document::parse_bytes(json, self.depth_max)
                .map_err(|error| format!("the resolver's result: {error}"))
        });
        counters.rendered.add_owned(1);
        match document {
            Ok(document) => (self.render(render, event, &document), true),
            Err(message) => {
                counters.resolver_errors.add_owned(1);
                (self.finish(event, failure(render.projection.response_key(), &message)), false)
            }
        }
    }

    fn render(&mut self, render: &Render, event: &Stamped, document: &Document) -> Payload {
        let mut body = Vec::with_capacity(256);
        let root = if render.resolver.is_some() {
            render.projection.root_value(document.root())
        } else {
            document.root()
        };
        if let Err(error) = render.projection.render(root, &mut body, self.bytes_max) {
            body = failure(render.projection.response_key(), &error.to_string());
        }
        self.finish(event, body)
    }

    /// Adds the event's cursor to its body.
    fn finish(&mut self, event: &Stamped, mut body: Vec<u8>) -> Payload {
        if self.cursors && body.pop().is_some() {
            let cursor = event.cursor();
            if self.end.0 != Some(cursor) {
                let text = format!(r#","extensions":{{"coulis":{{"cursor":"{cursor}"}}}}}}"#);
                self.end = (Some(cursor), text.into_bytes());
            }
            body.extend_from_slice(&self.end.1);
        }
        Payload::new(event.channel, event.offset, body)
    }
}

/// The body of an execution that failed: `errors`, and never any data of the event.
fn failure(response_key: &str, message: &str) -> Vec<u8> {
    let mut body = br#"{"data":null,"errors":[{"message":"#.to_vec();
    write_string(&mut body, message);
    body.extend_from_slice(br#","path":["#);
    write_string(&mut body, response_key);
    body.extend_from_slice(b"]}]}");
    body
}
