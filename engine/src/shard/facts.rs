//! What policies may know of an event.

use bumpalo::Bump;

use crate::{
    event::Stamped,
    id::Identity,
    policy::{Attribute, Facts, Problem, Root, Val},
};

impl Facts for Stamped {
    fn root<'a>(&'a self, root: &Root, arena: &'a Bump) -> Val<'a> {
        let event = &self.event;
        match root {
            Root::Event | Root::Attribute(_) => Val::of(event.document().root(), arena),
            Root::Before => event.before().map_or(Val::Null, |before| Val::of(before.root(), arena)),
            Root::Tenant(key) => self.identity(event.tenant(), key, arena),
            Root::User(key) => self.identity(event.user(), key, arena),
            Root::Service => self.attribute(Attribute::FederationService).unwrap_or(Val::Null),
            Root::FederationId => self.attribute(Attribute::FederationId).unwrap_or(Val::Null),
            Root::Named(_) => Val::Error(Problem::UnknownName),
        }
    }

    fn attribute(&self, attribute: Attribute) -> Option<Val<'_>> {
        let event = &self.event;
        match attribute {
            Attribute::Type => Some(Val::Text(event.event_type())),
            Attribute::Channel => Some(Val::Text(event.channel())),
            Attribute::Tenant => event.tenant().map(id),
            Attribute::User => event.user().map(id),
            Attribute::FederationId => event.federation()?.id.as_ref().map(id),
            Attribute::FederationService => event.federation()?.service.as_ref().map(id),
        }
    }
}

fn id(identity: &Identity) -> Val<'_> {
    Val::Id(identity.as_str())
}

impl Stamped {
    /// The attribute, or else what the document has under `key`; an empty text is no identity, like `null`.
    fn identity<'a>(&'a self, attribute: Option<&'a Identity>, key: &str, arena: &'a Bump) -> Val<'a> {
        if let Some(identity) = attribute {
            return id(identity);
        }
        match self.event.document().root().get(key).map(|value| Val::of(value, arena)) {
            None | Some(Val::Text("")) => Val::Null,
            Some(value) => value,
        }
    }
}
