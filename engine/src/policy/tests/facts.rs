//! What the tests of policies read fields from: documents, and attributes beside them.

use super::super::*;
use crate::value::{Document, Value};

/// An event for tests.
pub(super) struct Event {
    pub(super) document: Document,
    pub(super) before: Option<Document>,
    pub(super) attributes: Vec<(Attribute, String)>,
}

impl Event {
    pub(super) fn new(document: &str) -> Self {
        Self { document: Document::parse(document, 64).unwrap(), before: None, attributes: Vec::new() }
    }
}

impl Facts for Event {
    fn root<'a>(&'a self, root: &Root, arena: &'a Arena) -> Val<'a> {
        let own = |attribute, key: &str| {
            let found = || self.document.root().get(key).map(|value| Val::of(value, arena));
            self.attribute(attribute).or_else(found).unwrap_or(Val::Null)
        };
        match root {
            Root::Before => self.before.as_ref().map_or(Val::Null, |before| Val::of(before.root(), arena)),
            Root::Tenant(key) => own(Attribute::Tenant, key),
            Root::User(key) => own(Attribute::User, key),
            _ => Val::of(self.document.root(), arena),
        }
    }

    fn attribute(&self, attribute: Attribute) -> Option<Val<'_>> {
        let (_, text) = self.attributes.iter().find(|(known, _)| *known == attribute)?;
        Some(match attribute {
            Attribute::Type | Attribute::Channel => Val::Text(text),
            _ => Val::Id(text),
        })
    }
}

pub(super) fn map(entries: &[(&str, Constant)]) -> Constant {
    Constant::Map(entries.iter().map(|(key, value)| (Constant::from(*key), value.clone())).collect())
}

/// The context of user `7` of tenant `t` with the role `reader`.
pub(super) fn context() -> Constant {
    let claims =
        Constant::from(&Value::parse(&mut br#"{"team":{"id":3},"tags":["a","b"]}"#.to_vec(), 8).unwrap());
    map(&[
        ("user_id", Constant::Id("7".into())),
        ("tenant_id", Constant::Id("t".into())),
        ("roles", Constant::List(["reader".into()].into())),
        ("scopes", Constant::List([].into())),
        ("claims", claims),
    ])
}

/// Whether `policy` admits the event to the reader of [`context`], who asks with these variables.
pub(super) fn decide(policy: &Policy, variables: &Constant, event: &Event) -> Decision {
    let Ok(predicate) = policy.specialise(&context(), &Constant::Null, variables) else {
        return Decision::Denied;
    };
    let arena = Arena::new();
    let mut reading = Reading::new(predicate.program(), event, &arena);
    predicate.decide(&mut reading, &mut Scratch::default(), false)
}

pub(super) fn policy(text: &str) -> Policy {
    Policy::new(&[Part::Text(text)], Budget::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}
