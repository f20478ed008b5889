//! What predicates may know of an event.

use std::borrow::Cow;

use crate::{
    event::Stamped,
    id::Identity,
    policy::{Fact, Facts, Field},
    value::{Kind, Node},
};

impl Facts for Stamped {
    fn fact(&self, field: &Field) -> Fact<'_> {
        let (attribute, key) = match field {
            Field::Tenant(key) => (self.event.tenant(), key),
            Field::User(key) => (self.event.user(), key),
        };
        attribute.map_or_else(|| in_document(self.event.document().root().get(key)), is)
    }
}

fn is(identity: &Identity) -> Fact<'_> {
    Fact::Is(Cow::Borrowed(identity.as_str()))
}

/// An identity is a string or an integer; an empty string is none, like `null`.
fn in_document(value: Option<Node<'_>>) -> Fact<'_> {
    let Some(value) = value else { return Fact::Absent };
    match value.kind() {
        Kind::Null => Fact::Absent,
        Kind::Integer => Fact::Is(Cow::Borrowed(value.raw())),
        Kind::String => match value.as_str() {
            Some(text) if !text.is_empty() => Fact::Is(text),
            _ => Fact::Absent,
        },
        Kind::True | Kind::False | Kind::Float | Kind::Array | Kind::Object => Fact::Incomparable,
    }
}
