//! The scripts that run in the server, their arguments and their answers.
//!
//! A script is atomic, so what it looks at is what it changes. It is not undone when it fails half-way, so each does
//! first what may be refused.

use coulis::id::Offset;
use redis::{Cmd, Value, cmd};

use super::{
    batch,
    config::Settings,
    link::{Link, Trouble, shown},
    queue::Item,
};
use crate::wire;

const GREET: &str = concat!(include_str!("lua/history.lua"), include_str!("lua/greet.lua"));
const PUBLISH: &str = concat!(include_str!("lua/history.lua"), include_str!("lua/publish.lua"));
const INLET: &str = concat!(include_str!("lua/history.lua"), include_str!("lua/inlet.lua"));

/// How long the server remembers what it took of a producer that is silent, in milliseconds.
const PRODUCER_MS: u64 = 24 * 60 * 60 * 1_000;

/// The names by which a server knows the scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    greet: String,
    publish: String,
    inlet: String,
}

/// Where the history stands, and what it has of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) epoch: u64,
    pub(super) offset: u64,
    /// The last number that was taken; none where the server knows nothing of the producer.
    pub(super) taken: Option<u64>,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything is in the history; a mark for each entry says whether it was added now.
    Taken(Standing, String),
    /// Nothing is: an event that the batch follows is missing.
    Gap,
    /// What comes after `Standing::taken` is not.
    Refused(Standing, String),
    /// Nothing is.
    Failed(String),
    /// Nothing is, and the connection has to be made anew.
    Lost(String),
}

impl Scripts {
    pub(super) fn load(link: &mut Link) -> Result<Self, Trouble> {
        let mut load = |script: &str| match link.ask(cmd("SCRIPT").arg("LOAD").arg(script))? {
            Value::BulkString(name) => Ok(String::from_utf8_lossy(&name).into_owned()),
            _ => Err(odd()),
        };
        Ok(Self { greet: load(GREET)?, publish: load(PUBLISH)?, inlet: load(INLET)? })
    }

    /// Where things stand; begins a history where there is none, or where `lost` is the present epoch.
    pub(super) fn greet(
        &self,
        link: &mut Link,
        settings: &Settings,
        producer: &str,
        known: u64,
        lost: Option<u64>,
    ) -> Result<Standing, Trouble> {
        let mut command = cmd("EVALSHA");
        command.arg(&self.greet).arg(2).arg(&settings.stream).arg(settings.producer(producer));
        command.arg(known).arg(lost.map_or_else(String::new, |epoch| epoch.to_string()));
        let answer = link.ask(&command)?;
        standing(&answer).ok_or_else(odd)
    }

    /// The command that publishes `items`, the first of which has the number `first`, after the number `base`.
    pub(super) fn publish(
        &self,
        settings: &Settings,
        producer: &str,
        known: u64,
        (base, first): (u64, u64),
        items: &[Item],
    ) -> Cmd {
        let ids = items.iter().filter_map(|item| item.id.as_deref());
        let mut command = cmd("EVALSHA");
        command.arg(&self.publish).arg(2 + ids.clone().count());
        command.arg(&settings.stream).arg(settings.producer(producer));
        for id in ids {
            command.arg(format!("{}{id}", settings.ids));
        }
        command.arg(base).arg(first).arg(known).arg(settings.config.stream_events_max);
        command.arg(PRODUCER_MS).arg(settings.id_age_ms());
        let mut keys = 2;
        for entry in entries(items) {
            let named = entry.iter().filter(|item| item.id.is_some()).count();
            keys += named;
            command.arg(if named > 0 { keys } else { 0 }).arg(entry.len()).arg(batch::pack(entry));
        }
        command
    }

    /// Moves up to `count` entries out of the inlet; answers how many of them were no events.
    pub(super) fn inlet(
        &self,
        link: &mut Link,
        settings: &Settings,
        known: u64,
        count: usize,
    ) -> Result<u64, Trouble> {
        let bytes_max = wire::encoded_bytes_max(&settings.limits);
        let mut command = cmd("EVALSHA");
        command.arg(&self.inlet).arg(2).arg(&settings.stream).arg(&settings.inlet);
        command.arg(&settings.ids).arg(known).arg(settings.config.stream_events_max);
        command.arg(settings.id_age_ms()).arg(count).arg(bytes_max);
        match link.ask(&command)? {
            Value::Int(malformed) => Ok(malformed.max(0).cast_unsigned()),
            _ => Err(odd()),
        }
    }
}

impl Settings {
    fn producer(&self, name: &str) -> String {
        format!("{}{name}", self.producers)
    }

    fn id_age_ms(&self) -> u64 {
        u64::try_from(self.config.id_age_max.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Events by entry: one that may have been taken under its id before has an entry of its own.
fn entries(items: &[Item]) -> impl Iterator<Item = &[Item]> {
    items.chunk_by(|one, next| one.id.is_none() && next.id.is_none())
}

/// The offset of each event of a batch that was taken up to `last`; `None` for those that were there before.
pub(super) fn offsets(items: &[Item], last: u64, marks: &str) -> Vec<Option<Offset>> {
    let added = |mark: &u8| *mark == b'+';
    let marked = || entries(items).zip(marks.as_bytes());
    let count: usize = marked().filter(|(_, mark)| added(mark)).map(|(entry, _)| entry.len()).sum();
    let mut next = last.saturating_add(1).saturating_sub(count as u64)..;
    let offset = |(entry, mark): (&[Item], &u8)| -> Vec<_> {
        entry.iter().map(|_| if added(mark) { next.next().map(Offset) } else { None }).collect()
    };
    marked().flat_map(offset).collect()
}

/// What the answer to a batch says.
pub(super) fn verdict(answer: &Value) -> Result<Verdict, Trouble> {
    if let Value::ServerError(error) = answer {
        let text = shown(error);
        // A script that is gone is loaded, and a server that no longer writes is looked up anew, by connecting.
        return Ok(match error.code() {
            "NOSCRIPT" => Verdict::Lost(text),
            _ => Verdict::Failed(text),
        });
    }
    let stands = standing(answer).ok_or_else(odd)?;
    let Value::Array(fields) = answer else { return Err(odd()) };
    match (text(fields.first()), text(fields.get(4))) {
        (Some("ok"), Some(marks)) => Ok(Verdict::Taken(stands, marks.into())),
        (Some("gap"), _) => Ok(Verdict::Gap),
        (Some("refused"), Some(reason)) => Ok(Verdict::Refused(stands, reason.into())),
        _ => Err(odd()),
    }
}

fn standing(answer: &Value) -> Option<Standing> {
    let Value::Array(fields) = answer else { return None };
    let number = |at: usize| text(fields.get(at))?.parse().ok();
    let taken = if text(fields.get(3))?.is_empty() { None } else { Some(number(3)?) };
    Some(Standing { epoch: number(1)?, offset: number(2)?, taken })
}

fn text(value: Option<&Value>) -> Option<&str> {
    match value {
        Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn odd() -> Trouble {
    Trouble::Broken("it answers what no script of ours does".into())
}
