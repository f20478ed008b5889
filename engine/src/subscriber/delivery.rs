//! What a reader gets: results, and the notices that stand between them.

use std::sync::Arc;

use crate::{envelope, id::Offset, link::End, payload::Payload, shard::resume::Resumed, value::quote};

/// Frames that a reader did not get, because it or its resolver was too slow or a rate withheld them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first offset that may be missing; 1 if the subscription has several channels.
    pub from: Offset,
    /// The last offset that may be missing; `None` if that is open: the subscription has several channels, each with
    /// offsets of its own, or a resolver, whose losses may be told before earlier results.
    pub to: Option<Offset>,
    /// How many frames are missing, exactly: the gaps of a subscription add up to its losses.
    pub count: u32,
    /// Why they are missing.
    pub reason: GapReason,
}

/// Why frames are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GapReason {
    /// A full ring, or a resolver that could not take more.
    #[default]
    Overflow,
    /// A rate of deliveries withheld them, or some of them.
    Rate,
}

impl GapReason {
    /// A stable word for clients.
    pub fn code(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Rate => "rate",
        }
    }
}

/// One thing for one subscription.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The subscription's id.
    pub id: &'a str,
    /// The subscription's id as JSON text.
    pub id_json: &'a str,
    /// The result or the notice.
    pub content: Content<'a>,
}

/// What a delivery holds.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// An execution result.
    Result(&'a Payload),
    /// A loss, told before what came after it.
    Gap(Gap),
    /// The answer to a wish to resume, told before everything else.
    Resumed(Resumed),
    /// The subscription was ended by this loss, as `Overflow::Disconnect` asks; nothing more of it comes.
    Ended(Gap),
    /// The subscription was ended by the engine; nothing more of it comes.
    Closed(&'a End),
}

/// A delivery that its reader keeps.
#[derive(Clone, Debug)]
pub struct Message {
    /// The subscription's id.
    pub id: Arc<str>,
    /// What it got.
    pub content: OwnedContent,
}

/// [`Content`] that lives by itself.
#[derive(Clone, Debug)]
pub enum OwnedContent {
    /// An execution result; the bytes are shared with all who got the same.
    Result(Payload),
    /// See [`Content::Gap`].
    Gap(Gap),
    /// See [`Content::Resumed`].
    Resumed(Resumed),
    /// See [`Content::Ended`].
    Ended(Gap),
    /// See [`Content::Closed`].
    Closed(End),
}

impl Delivery<'_> {
    /// Appends this as a `next` message with the subscription's id; the end of a subscription as its `error` message.
    pub fn write_next(&self, out: &mut Vec<u8>) {
        match self.content {
            Content::Closed(end) => {
                envelope::write_error(out, self.id_json, end.code(), end.message());
            }
            Content::Result(payload) => envelope::write_next(out, self.id_json, payload.body()),
            Content::Gap(gap) | Content::Ended(gap) => {
                envelope::write_next(out, self.id_json, gap.body().as_bytes());
            }
            Content::Resumed(resumed) => {
                envelope::write_next(out, self.id_json, resumed.body().as_bytes());
            }
        }
    }
}

impl Content<'_> {
    pub(super) fn to_owned(self) -> OwnedContent {
        match self {
            Self::Result(payload) => OwnedContent::Result(payload.clone()),
            Self::Gap(gap) => OwnedContent::Gap(gap),
            Self::Resumed(resumed) => OwnedContent::Resumed(resumed),
            Self::Ended(gap) => OwnedContent::Ended(gap),
            Self::Closed(end) => OwnedContent::Closed(end.clone()),
        }
    }
}

impl OwnedContent {
    /// The same, borrowed.
    pub fn borrow(&self) -> Content<'_> {
        match self {
            Self::Result(payload) => Content::Result(payload),
            Self::Gap(gap) => Content::Gap(*gap),
            Self::Resumed(resumed) => Content::Resumed(*resumed),
            Self::Ended(gap) => Content::Ended(*gap),
            Self::Closed(end) => Content::Closed(end),
        }
    }
}

impl Message {
    /// Appends this as a `next` message with the subscription's id.
    pub fn write_next(&self, out: &mut Vec<u8>) {
        let Self { id, content } = self;
        Delivery { id, id_json: &quote(id), content: content.borrow() }.write_next(out);
    }
}

impl Gap {
    /// The execution result that tells of the gap: no data, and `extensions.coulis.gap`.
    pub fn body(&self) -> String {
        let to = self.to.map_or("null".into(), |Offset(to)| to.to_string());
        let (Offset(from), count, reason) = (self.from, self.count, self.reason.code());
        format!(
            r#"{{"data":null,"extensions":{{"coulis":{{"gap":{{"from":{from},"to":{to},"count":{count},"reason":"{reason}"}}}}}}}}"#
        )
    }
}
