//! Without a history: messages of a channel, each a batch of one producer's numbered events.
//!
//! A message is a `MessagePack` array: the producer's name, the number that it follows, the number of the first event,
//! the encodings of the events. The first number tells a reader what it missed, the second one what came twice: what
//! the server refused lies between them, and nobody missed it.

use std::collections::HashMap;

use redis::{Value, cmd};
use serde::{Deserialize, Serialize};

use super::{
    batch::{self, Bytes},
    config::Settings,
    link::{Link, Trouble, check_server, shown},
    queue::Item,
    script::{Standing, Verdict},
};

/// Producers that a reader knows at the same time; beyond it all are forgotten, and met anew.
const PRODUCERS_MAX: usize = 10_000;

#[derive(Serialize, Deserialize)]
struct Message<'a>(&'a str, u64, u64, #[serde(borrow)] Vec<Bytes<'a>>);

/// A batch as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Came<'a> {
    /// Whether something was published between what came before and this batch.
    pub(super) missed: bool,
    /// What had not come before.
    pub(super) events: Vec<&'a [u8]>,
}

/// What came of each producer.
#[derive(Debug, Default)]
pub(super) struct Producers {
    seen: HashMap<String, Seen>,
    /// Counts connections.
    connection: u64,
}

/// The number that came last, and the connection that it came over.
#[derive(Clone, Copy, Debug)]
struct Seen {
    last: u64,
    connection: u64,
}

impl Producers {
    /// A connection begins: what came before it is still known, and what was missed in between is told already.
    pub(super) fn connected(&mut self) {
        self.connection += 1;
    }

    /// Reads a message; nothing if it is none.
    pub(super) fn read<'a>(&mut self, message: &'a [u8]) -> Option<Came<'a>> {
        let Message(producer, base, first, events) = rmp_serde::from_slice(message).ok()?;
        let last = first.checked_add(events.len() as u64)?.checked_sub(1)?;
        if base >= first || producer.len() > 64 {
            return None;
        }
        let connection = self.connection;
        let seen = self.seen.get(producer).copied();
        let skip = seen.map_or(0, |seen| (seen.last + 1).saturating_sub(first)) as usize;
        let followed = seen.filter(|seen| seen.connection == connection);
        let missed = followed.is_some_and(|seen| base > seen.last);
        if seen.is_none() && self.seen.len() >= PRODUCERS_MAX {
            self.seen.clear();
        }
        let last = last.max(seen.map_or(0, |seen| seen.last));
        self.seen.insert(producer.into(), Seen { last, connection });
        Some(Came { missed, events: events.into_iter().skip(skip).map(|Bytes(bytes)| bytes).collect() })
    }
}

/// The commands that publish `items`, the first of which has the number `first`, after the number `base`; ahead of it
/// the server is asked whether it is a master still.
pub(super) fn publish(settings: &Settings, producer: &str, numbers: (u64, u64), items: &[Item]) -> Vec<u8> {
    let (base, first) = numbers;
    // Writing into memory cannot fail; an empty message would be counted by readers as malformed.
    let message =
        rmp_serde::to_vec(&Message(producer, base, first, batch::events(items))).unwrap_or_default();
    let mut commands = cmd("HELLO").get_packed_command();
    commands.extend(cmd("PUBLISH").arg(&settings.stream).arg(message).get_packed_command());
    commands
}

/// What the answers to [`publish`] of events up to the number `last` say: to how many they went, or an error.
pub(super) fn verdict(link: &mut Link, last: u64) -> Result<Verdict, Trouble> {
    check_server(&link.receive()?)?;
    match link.receive()? {
        Value::Int(_) => {
            Ok(Verdict::Taken(Standing { taken: Some(last), ..Standing::default() }, String::new()))
        }
        Value::ServerError(error) => Ok(Verdict::Failed(shown(&error))),
        _ => Err(Trouble::Broken("it answers PUBLISH with what is no number".into())),
    }
}

/// Asks whether the server answers, and is a master.
pub(super) fn ping(link: &mut Link) -> Result<(), Trouble> {
    check_server(&link.ask(&cmd("HELLO"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_and_what_came_twice_is_left_out() {
        let message = |producer, base, first, count: usize| {
            let events = [b"0".as_slice(), b"1", b"2", b"3"];
            let events = events[..count].iter().map(|event| Bytes(event)).collect();
            rmp_serde::to_vec(&Message(producer, base, first, events)).unwrap()
        };
        let mut producers = Producers::default();
        let row = |producers: &mut Producers, producer, (base, first), count, missed, events: &[&str]| {
            let message = message(producer, base, first, count);
            let came = producers.read(&message).unwrap();
            let texts: Vec<_> = came.events.iter().map(|event| std::str::from_utf8(event).unwrap()).collect();
            assert_eq!((came.missed, &*texts), (missed, events));
        };
        row(&mut producers, "a", (4, 5), 2, false, &["0", "1"]);
        row(&mut producers, "a", (6, 7), 1, false, &["0"]);
        row(&mut producers, "a", (6, 7), 3, false, &["1", "2"]);
        row(&mut producers, "a", (4, 5), 2, false, &[]);
        row(&mut producers, "b", (0, 1), 1, false, &["0"]);
        row(&mut producers, "a", (12, 13), 1, true, &["0"]);
        row(&mut producers, "b", (2, 3), 1, true, &["0"]);
        // The server refused 14 and 15.
        row(&mut producers, "a", (13, 16), 1, false, &["0"]);
        // What was missed between connections is told without a count, and not again.
        producers.connected();
        row(&mut producers, "a", (19, 20), 1, false, &["0"]);
        row(&mut producers, "b", (1, 2), 3, false, &["2"]);
        row(&mut producers, "a", (22, 23), 1, true, &["0"]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let mut producers = Producers::default();
        for bytes in [
            &b""[..],
            b"x",
            b"\x93\xa1a\x00\x91\xc4\x00",
            b"\x94\xa1a\x00\x00\x91\xc4\x00",
            b"\x94\xa1a\x02\x01\x91\xc4\x00",
            b"\x94\xa1a\x00\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x92\xc4\x00\xc4\x00",
        ] {
            assert_eq!(producers.read(bytes), None);
        }
        assert!(producers.seen.is_empty());
    }
}
