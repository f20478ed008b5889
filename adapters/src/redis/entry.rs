//! Entries of a stream, as replies bring them: from nodes many events at once, from others one field by field.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    str,
};

use coulis::{event::Event, limits::Limits};
use redis::Value;

use super::batch;
use crate::{
    feed::Position,
    wire::{self, WireEvent},
};

/// The field that holds the events of a node.
const EVENTS: &[u8] = b"e";

/// What an entry holds.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// The beginning of an epoch.
    Mark,
    /// Events of a node, in the form of the wire.
    Events(Vec<&'a [u8]>),
    /// One event in fields.
    Foreign,
}

impl Content<'_> {
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Mark => 0,
            Self::Events(events) => events.len() as u64,
            Self::Foreign => 1,
        }
    }
}

/// The event in a form of the wire, checked as one that is published here.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Event, String> {
    let event = wire::decode(bytes, limits).map_err(|error| error.to_string())?;
    event.event(limits).map_err(|error| error.to_string())
}

/// An entry, borrowed from its reply.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) position: Position,
    /// Names and values in turn.
    fields: &'a [Value],
}

impl<'a> Entry<'a> {
    /// Reads `[id, [name, value, …]]`; nothing if it is something else.
    pub(super) fn read(value: &'a Value) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let [Value::BulkString(id), Value::Array(fields)] = &parts[..] else { return None };
        let (epoch, offset) = str::from_utf8(id).ok()?.split_once('-')?;
        Some(Self { position: Position { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? }, fields })
    }

    /// What the entry holds; nothing if nobody can tell.
    pub(super) fn content(&self) -> Option<Content<'a>> {
        match self.fields {
            _ if self.position.offset == 0 => Some(Content::Mark),
            [Value::BulkString(name), Value::BulkString(bytes)] if name == EVENTS => {
                // The number of an entry is that of its last event.
                batch::unpack(bytes)
                    .filter(|events| events.len() as u64 <= self.position.offset)
                    .map(Content::Events)
            }
            fields if fields.len() > 2 => Some(Content::Foreign),
            _ => None,
        }
    }

    /// The event of an entry that was left in the inlet.
    pub(super) fn foreign(&self, limits: &Limits) -> Result<Event, String> {
        self.named(self.fields, limits)
    }

    fn named(&self, fields: &[Value], limits: &Limits) -> Result<Event, String> {
        // An event without a name is known by its place, which is the same on every node.
        let place = format!("{}-{}", self.position.epoch, self.position.offset);
        let mut event = WireEvent { id: &place, ..WireEvent::default() };
        for field in fields.chunks(2) {
            let [Value::BulkString(name), Value::BulkString(value)] = field else {
                return Err("a field without a value".into());
            };
            let text = || str::from_utf8(value).map_err(|_| "a text that is not UTF-8".to_owned());
            match &name[..] {
                b"channel" => event.channel = text()?,
                b"type" => event.event_type = text()?,
                b"data" => event.data = value,
                b"before" => event.before = Some(value),
                b"tenant" => event.tenant = Some(text()?),
                b"user" => event.user = Some(text()?),
                b"id" => event.id = text()?,
                name => return Err(format!("unknown field `{}`", name.escape_ascii())),
            }
        }
        wire::encode(&event, limits).map_err(|error| error.to_string())?;
        event.event(limits).map_err(|error| error.to_string())
    }

    /// Tells this entry from another one that has its place in another history.
    pub(super) fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for field in self.fields {
            if let Value::BulkString(bytes) = field {
                bytes.hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// The entries of the stream `key` in an answer to `XREAD`: of `[[key, entries], …]`.
pub(super) fn of_stream<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    let Value::Array(streams) = answer else { return &[] };
    let found = streams.iter().find_map(|stream| match stream {
        Value::Array(parts) => match &parts[..] {
            [Value::BulkString(name), Value::Array(entries)] if name == key.as_bytes() => Some(&entries[..]),
            _ => None,
        },
        _ => None,
    });
    found.unwrap_or_default()
}

/// What a reader of the stream `key` makes of the bytes of an answer to `XREAD`: each event, or why there is none.
///
/// # Errors
/// Bytes that are no answer.
pub fn events(answer: &[u8], key: &str, limits: &Limits) -> Result<Vec<Result<Event, String>>, String> {
    let answer = redis::parse_redis_value(answer).map_err(|error| error.to_string())?;
    let mut events = Vec::new();
    for value in of_stream(&answer, key) {
        match Entry::read(value).and_then(|entry| Some((entry.content()?, entry))) {
            Some((Content::Events(forms), _)) => {
                events.extend(forms.into_iter().map(|form| decode(form, limits)));
            }
            Some((Content::Foreign, entry)) => events.push(entry.foreign(limits)),
            Some((Content::Mark, _)) => {}
            None => events.push(Err("not an entry".into())),
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::{super::queue::Item, *};

    fn bulk(bytes: impl AsRef<[u8]>) -> Value {
        Value::BulkString(bytes.as_ref().to_vec())
    }

    fn entry(fields: &[&str]) -> Value {
        Value::Array(vec![bulk("7-3"), Value::Array(fields.iter().map(bulk).collect())])
    }

    fn read(value: &Value) -> Result<Event, String> {
        let entry = Entry::read(value).unwrap();
        match entry.content().ok_or("no content")? {
            Content::Events(forms) => decode(forms[0], &Limits::default()),
            Content::Foreign => entry.foreign(&Limits::default()),
            Content::Mark => Err("a mark".into()),
        }
    }

    #[test]
    fn events_of_nodes_and_of_others_are_read() {
        let limits = Limits::default();
        let own = Event::new("added", "orders", b"{}".to_vec(), &limits).unwrap();
        let bytes = wire::encode(&WireEvent::of(&own, "a-1"), &limits).unwrap();
        let item = || Item { bytes: bytes.clone(), id: None, waiting: None };
        let value = |count: usize| {
            let items: Vec<_> = (0..count).map(|_| item()).collect();
            Value::Array(vec![bulk("7-3"), Value::Array(vec![bulk("e"), bulk(batch::pack(&items))])])
        };
        for count in [1, 2, 3] {
            let value = value(count);
            assert_eq!(Entry::read(&value).unwrap().content().unwrap().count(), count as u64);
            let event = read(&value).unwrap();
            assert_eq!((event.channel(), event.event_type(), event.id()), ("orders", "added", Some("a-1")));
        }
        // The third event of an epoch cannot end an entry of four.
        assert!(Entry::read(&value(4)).unwrap().content().is_none());

        let event = read(&entry(&["channel", "orders", "data", "[1]", "type", "added"])).unwrap();
        assert_eq!((event.channel(), event.document().text(), event.id()), ("orders", "[1]", Some("7-3")));
        assert_eq!((event.tenant(), event.user()), (None, None));
        let all =
            ["channel", "c", "type", "t", "data", "{}", "before", "1", "tenant", "a", "user", "u", "id", "x"];
        let event = read(&entry(&all)).unwrap();
        assert_eq!((event.tenant().unwrap().as_str(), event.user().unwrap().as_str()), ("a", "u"));
        assert_eq!((event.before().unwrap().text(), event.id()), ("1", Some("x")));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let row = |fields: &[&str], named: &str| {
            let reason = read(&entry(fields)).unwrap_err();
            assert!(reason.contains(named), "{reason}");
        };
        row(&["e", "x"], "no content");
        row(&["e", "\u{11}"], "no content");
        row(&[], "no content");
        row(&["channel", "c", "type", "t"], "");
        row(&["channel", "c", "type", "t", "data", "{"], "");
        row(&["channel", "", "type", "t", "data", "{}"], "`channel`");
        row(&["channel", "c", "type", "t", "data", "{}", "tenant", ""], "`tenant`");
        row(&["channel", "c", "type", "t", "data", "{}", "colour", "red"], "`colour`");
        row(&["channel", "c", "type", "t", "data"], "without a value");
        row(&["channel", &"c".repeat(1_025), "type", "t", "data", "{}"], "name_bytes_max");
        for id in ["7", "7-", "-3", "a-b", "7-3-1", "99999999999999999999-1"] {
            let value = Value::Array(vec![bulk(id), Value::Array(Vec::new())]);
            assert!(Entry::read(&value).is_none(), "{id}");
        }
        assert!(Entry::read(&Value::Nil).is_none());
    }

    #[test]
    fn entries_with_other_bytes_have_other_prints() {
        let print = |fields: &[&str]| Entry::read(&entry(fields)).unwrap().print();
        assert_eq!(print(&["e", "x"]), print(&["e", "x"]));
        assert_ne!(print(&["e", "x"]), print(&["e", "y"]));
        assert_ne!(print(&["e", "x"]), print(&["ex", ""]));
    }

    #[test]
    fn an_answer_is_read_from_its_bytes() {
        let answer = b"*1\r\n*2\r\n$1\r\nk\r\n*2\r\n*2\r\n$3\r\n7-1\r\n*6\r\n$7\r\nchannel\r\n$1\r\nc\r\n$4\r\ntype\r\n$1\r\nt\r\n$4\r\ndata\r\n$2\r\n{}\r\n*2\r\n$3\r\n7-2\r\n*2\r\n$1\r\ne\r\n$1\r\nx\r\n";
        let found = events(answer, "k", &Limits::default()).unwrap();
        assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
        assert!(events(answer, "j", &Limits::default()).unwrap().is_empty());
        assert!(events(b"*1\r\n*2\r\n", "k", &Limits::default()).is_err());
    }
}
