//! What policies may know of an event.

use bumpalo::Bump;

use crate::{
    event::Event,
    id::Identity,
    policy::{Attribute, Facts, Predicate, Problem, Root, Val},
    value::Document,
};

impl Facts for Event {
    fn root<'a>(&'a self, root: &Root, arena: &'a Bump) -> Val<'a> {
        match root {
            Root::Event | Root::Attribute(_) => Val::of(self.document().root(), arena),
            Root::Before => self.before().map_or(Val::Null, |before| Val::of(before.root(), arena)),
            Root::Tenant(key) => identity(self.tenant(), self.document(), key, arena),
            Root::User(key) => identity(self.user(), self.document(), key, arena),
            Root::Service => self.attribute(Attribute::FederationService).unwrap_or(Val::Null),
            Root::FederationId => self.attribute(Attribute::FederationId).unwrap_or(Val::Null),
            Root::Named(_) => Val::Error(Problem::UnknownName),
        }
    }

    fn attribute(&self, attribute: Attribute) -> Option<Val<'_>> {
        match attribute {
            Attribute::Type => Some(Val::Text(self.event_type())),
            Attribute::Channel => Some(Val::Text(self.channel())),
            Attribute::Tenant => self.tenant().map(id),
            Attribute::User => self.user().map(id),
            Attribute::FederationId => self.federation()?.id.as_ref().map(id),
            Attribute::FederationService => self.federation()?.service.as_ref().map(id),
        }
    }
}

fn id(identity: &Identity) -> Val<'_> {
    Val::Id(identity.as_str())
}

/// The attribute, or else what the document has under `key`; an empty text is no identity, like `null`.
fn identity<'a>(
    attribute: Option<&'a Identity>,
    document: &'a Document,
    key: &str,
    arena: &'a Bump,
) -> Val<'a> {
    attribute.map(id).or_else(|| in_document(document, key, arena)).unwrap_or(Val::Null)
}

fn in_document<'a>(document: &'a Document, key: &str, arena: &'a Bump) -> Option<Val<'a>> {
    let value = Val::of(document.root().get(key)?, arena);
    (!matches!(value, Val::Null | Val::Text(""))).then_some(value)
}

/// An event as it was before its change: what the old document says outranks the attributes, which tell of the new one.
#[derive(Debug)]
pub(crate) struct Old<'e>(&'e Event, &'e Document);

impl<'e> Old<'e> {
    /// `None`: the publisher did not say what was before.
    pub(crate) fn of(event: &'e Event) -> Option<Self> {
        Some(Self(event, event.before()?))
    }
}

impl Facts for Old<'_> {
    fn root<'a>(&'a self, root: &Root, arena: &'a Bump) -> Val<'a> {
        let Self(event, before) = self;
        match root {
            Root::Event | Root::Attribute(_) => Val::of(before.root(), arena),
            Root::Before => Val::Null,
            Root::Tenant(key) => {
                in_document(before, key, arena).or(event.tenant().map(id)).unwrap_or(Val::Null)
            }
            Root::User(key) => in_document(before, key, arena).or(event.user().map(id)).unwrap_or(Val::Null),
            Root::Service | Root::FederationId | Root::Named(_) => event.root(root, arena),
        }
    }

    fn attribute(&self, attribute: Attribute) -> Option<Val<'_>> {
        let Self(event, before) = self;
        let key = match attribute {
            Attribute::Tenant => "tenant_id",
            Attribute::User => "user_id",
            _ => return event.attribute(attribute),
        };
        // Read from the old document, where it says so.
        if before.root().get(key).is_some() { None } else { event.attribute(attribute) }
    }
}

/// What of an event a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// What it tells.
    New,
    /// Only that what it could see before is gone.
    Old,
}

impl Image {
    /// What `predicate` admits of an event: the new image, or else the old one. A deletion has an old one only.
    pub(super) fn admitted(predicate: &Predicate, event: &Event) -> Option<Self> {
        if !event.is_deletion() && predicate.admits(event) {
            return Some(Self::New);
        }
        Old::of(event).is_some_and(|old| predicate.admits(&old)).then_some(Self::Old)
    }
}
