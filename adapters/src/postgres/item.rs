//! An event that waits to be sent, and a batch of them as the columns that the database takes.

use std::sync::Arc;

use coulis::{
    bus::{Accepted, BusError},
    event::Event,
    limits::Limits,
};
use tokio_postgres::types::Type;

use super::{link::Parameter, publish::Claim};
use crate::wire::{WireEvent, check_fields};

/// An event on its way to the database.
#[derive(Debug)]
pub(super) struct Item {
    channel: Box<str>,
    event_type: Box<str>,
    data: Box<str>,
    before: Option<Box<str>>,
    tenant: Option<Box<str>>,
    user: Option<Box<str>>,
    service: Option<Box<str>>,
    federation_id: Option<Box<str>>,
    id: Box<str>,
    /// Whether the id is the publisher's, to be taken once.
    named: bool,
    waiting: Option<Waiting>,
}

/// A publisher that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub claim: Arc<Claim>,
    /// The event's place among those that are waited for, and what became of it.
    pub answer: flume::Sender<(usize, Result<Accepted, BusError>)>,
    pub index: usize,
}

impl Item {
    /// A copy of `event`, named `id` unless it has a name; refused if the bounds do not hold here.
    pub(super) fn new(
        event: &Event,
        id: &str,
        limits: &Limits,
        waiting: Option<Waiting>,
    ) -> Result<Self, BusError> {
        let form = WireEvent::of(event, id);
        check_fields(&form, limits).map_err(|error| super::config::refused(error.to_string()))?;
        let owned = |text: Option<&str>| text.map(Box::from);
        Ok(Self {
            channel: form.channel.into(),
            event_type: form.event_type.into(),
            data: event.document().text().into(),
            before: event.before().map(|before| before.text().into()),
            tenant: owned(form.tenant),
            user: owned(form.user),
            service: owned(form.federation_service),
            federation_id: owned(form.federation_id),
            id: form.id.into(),
            named: event.id().is_some(),
            waiting,
        })
    }

    /// What it takes of the buffer.
    pub(super) fn bytes(&self) -> usize {
        let optional = [&self.before, &self.tenant, &self.user, &self.service, &self.federation_id];
        let optional: usize = optional.into_iter().flatten().map(|text| text.len()).sum();
        size_of::<Self>()
            + self.channel.len()
            + self.event_type.len()
            + self.data.len()
            + self.id.len()
            + optional
    }

    /// Whether the server may have it under its id already.
    pub(super) fn is_named(&self) -> bool {
        self.named
    }

    /// Whether it is to be sent: nobody has given it up.
    pub(super) fn claim(&self) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.claim.take())
    }

    /// Whether nobody will hear what becomes of it.
    pub(super) fn is_unheard(&self) -> bool {
        self.waiting.is_none()
    }

    /// Tells what became of it.
    pub(super) fn answer(self, result: Result<Accepted, BusError>) {
        if let Some(waiting) = self.waiting {
            // Who gave up waiting is not there to be told.
            _ = waiting.answer.try_send((waiting.index, result));
        }
    }
}

/// The columns of a batch.
pub(super) struct Columns<'a> {
    required: [Vec<&'a str>; 4],
    optional: [Vec<Option<&'a str>>; 5],
    named: Vec<bool>,
}

pub(super) fn columns(batch: &[Item]) -> Columns<'_> {
    let required = |field: fn(&Item) -> &str| batch.iter().map(field).collect();
    let optional = |field: fn(&Item) -> Option<&str>| batch.iter().map(field).collect();
    Columns {
        required: [
            required(|item| &item.channel),
            required(|item| &item.event_type),
            required(|item| &item.data),
            required(|item| &item.id),
        ],
        optional: [
            optional(|item| item.before.as_deref()),
            optional(|item| item.tenant.as_deref()),
            optional(|item| item.user.as_deref()),
            optional(|item| item.service.as_deref()),
            optional(|item| item.federation_id.as_deref()),
        ],
        named: batch.iter().map(|item| item.named).collect(),
    }
}

impl Columns<'_> {
    /// In the order of the function's parameters.
    pub(super) fn parameters(&self) -> [Parameter<'_>; 10] {
        let [channels, event_types, datas, ids] = &self.required;
        let [befores, tenants, users, services, federation_ids] = &self.optional;
        [
            (channels, Type::TEXT_ARRAY),
            (event_types, Type::TEXT_ARRAY),
            (datas, Type::TEXT_ARRAY),
            (befores, Type::TEXT_ARRAY),
            (tenants, Type::TEXT_ARRAY),
            (users, Type::TEXT_ARRAY),
            (ids, Type::TEXT_ARRAY),
            (services, Type::TEXT_ARRAY),
            (federation_ids, Type::TEXT_ARRAY),
            (&self.named, Type::BOOL_ARRAY),
        ]
    }
}
