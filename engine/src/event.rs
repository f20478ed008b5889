//! What is published: a type, a channel, attributes and a JSON document.

use std::fmt;

use crate::{
    cursor::{Cursor, History},
    error::LimitExceeded,
    id::{ChannelId, Identity, Offset},
    limits::Limits,
    value::{Document, DocumentError},
};

/// Why a text and some names are not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventError {
    /// `event_type` or `channel` is empty.
    Empty(&'static str),
    /// The document is not acceptable JSON.
    Document(DocumentError),
    /// Something is larger than its bound.
    Limit(LimitExceeded),
}

impl EventError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty(_) => "BAD_ARGUMENT",
            Self::Document(_) => "BAD_DOCUMENT",
            Self::Limit(_) => "LIMIT_EXCEEDED",
        }
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(name) => write!(f, "{name} cannot be empty"),
            Self::Document(error) => error.fmt(f),
            Self::Limit(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EventError {}

impl From<LimitExceeded> for EventError {
    fn from(error: LimitExceeded) -> Self {
        Self::Limit(error)
    }
}

/// An immutable input of the engine.
#[derive(Debug)]
pub struct Event {
    event_type: Box<str>,
    channel: Box<str>,
    document: Document,
    before: Option<Document>,
    tenant: Option<Identity>,
    user: Option<Identity>,
    federation: Option<Box<Federation>>,
    id: Option<Box<str>>,
}

/// Where an event belongs in a federation of services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Federation {
    /// The service.
    pub service: Option<Identity>,
    /// The id in that service.
    pub id: Option<Identity>,
}

impl Event {
    /// An event of `event_type` on `channel` whose document is the JSON text `document`.
    ///
    /// # Errors
    /// An empty type or channel, a document that is not JSON or repeats a key, and whatever is above
    /// `name_bytes_max`, `event_bytes_max` or `event_depth_max`.
    pub fn new(
        event_type: impl Into<Box<str>>,
        channel: impl Into<Box<str>>,
        document: Vec<u8>,
        limits: &Limits,
    ) -> Result<Self, EventError> {
        let (event_type, channel) = (event_type.into(), channel.into());
        for (name, text) in [("event_type", &event_type), ("channel", &channel)] {
            if text.is_empty() {
                return Err(EventError::Empty(name));
            }
            LimitExceeded::check("name_bytes_max", text.len(), limits.name_bytes_max)?;
        }
        LimitExceeded::check("event_bytes_max", document.len(), limits.event_bytes_max)?;
        let document =
            Document::parse_bytes(document, limits.event_depth_max).map_err(EventError::Document)?;
        Ok(Self {
            event_type,
            channel,
            document,
            before: None,
            tenant: None,
            user: None,
            federation: None,
            id: None,
        })
    }

    /// Sets the tenant; it outranks a tenant field in the document.
    #[must_use]
    pub fn with_tenant(self, tenant: Option<Identity>) -> Self {
        Self { tenant, ..self }
    }

    /// Sets the user; it outranks an owner field in the document.
    #[must_use]
    pub fn with_user(self, user: Option<Identity>) -> Self {
        Self { user, ..self }
    }

    /// Sets where the event belongs in a federation.
    #[must_use]
    pub fn with_federation(self, federation: Federation) -> Self {
        Self { federation: (federation != Federation::default()).then(|| federation.into()), ..self }
    }

    /// Names the event, so that a bus takes it once however often it is published.
    ///
    /// # Errors
    /// An empty id, and one above `name_bytes_max`.
    pub fn with_id(self, id: impl Into<Box<str>>, limits: &Limits) -> Result<Self, EventError> {
        let id = id.into();
        if id.is_empty() {
            return Err(EventError::Empty("id"));
        }
        LimitExceeded::check("name_bytes_max", id.len(), limits.name_bytes_max)?;
        Ok(Self { id: Some(id), ..self })
    }

    /// Adds the document as it was before the change that the event tells of.
    ///
    /// # Errors
    /// As [`Event::new`] for the document.
    pub fn with_before(self, before: Vec<u8>, limits: &Limits) -> Result<Self, EventError> {
        LimitExceeded::check("event_bytes_max", before.len(), limits.event_bytes_max)?;
        let before = Document::parse_bytes(before, limits.event_depth_max).map_err(EventError::Document)?;
        Ok(Self { before: Some(before), ..self })
    }

    /// The kind of event, such as `orderCreated`.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The indexed document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Whether the event tells that something is gone: its document is `null`. Only who could see it before is told.
    pub fn is_deletion(&self) -> bool {
        self.document.root().is_null()
    }

    /// The document before the change, where the publisher gave it.
    pub fn before(&self) -> Option<&Document> {
        self.before.as_ref()
    }

    /// Where the event belongs in a federation.
    pub fn federation(&self) -> Option<&Federation> {
        self.federation.as_deref()
    }

    /// The name that its publisher gave it.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The tenant given at publish.
    pub fn tenant(&self) -> Option<&Identity> {
        self.tenant.as_ref()
    }

    /// The user given at publish.
    pub fn user(&self) -> Option<&Identity> {
        self.user.as_ref()
    }
}

/// An event with its place in its channel.
#[derive(Debug)]
pub struct Stamped {
    /// The event.
    pub event: Event,
    /// The channel's number.
    pub channel: ChannelId,
    /// The position in the channel, from 1.
    pub offset: Offset,
    /// Of which the offset is: an answer of a resolver may come when another one has begun.
    pub(crate) history: History,
}

impl Stamped {
    /// The position after this event.
    pub(crate) fn cursor(&self) -> Cursor {
        self.history.cursor(self.channel, self.offset)
    }
}
