//! How often subscriptions may be registered: a bucket for each user, each tenant and each reader.

use super::{
    SecurityContext,
    rate::{Buckets, Rate},
};
use crate::{
    error::LimitExceeded,
    id::{Identity, User},
    limits::Limits,
};

/// Rates of registration; `None`: as often as anybody likes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// For each user of a tenant; readers without a user are not counted here.
    pub user: Option<Rate>,
    /// For each tenant; readers without one are not counted here.
    pub tenant: Option<Rate>,
    /// For each reader, that is each connection.
    pub subscriber: Option<Rate>,
}

/// Why a registration comes too early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TooOften {
    /// The bucket of the user, the tenant or the subscriber is empty.
    Empty(&'static str),
    /// `rate_keys_max`.
    Limit(LimitExceeded),
}

/// The buckets of a [`Pace`].
#[derive(Debug)]
pub(crate) struct Paced {
    users: Option<Buckets<User>>,
    tenants: Option<Buckets<Identity>>,
    subscribers: Option<Buckets<u64>>,
}

impl Paced {
    pub(crate) fn new(Pace { user, tenant, subscriber }: Pace, limits: &Limits) -> Self {
        let users = user.map(|rate| Buckets::new(rate, limits));
        let tenants = tenant.map(|rate| Buckets::new(rate, limits));
        let subscribers = subscriber.map(|rate| Buckets::new(rate, limits));
        Self { users, tenants, subscribers }
    }

    /// Whether registrations are limited at all.
    pub(crate) fn is_on(&self) -> bool {
        self.users.is_some() || self.tenants.is_some() || self.subscribers.is_some()
    }

    /// Takes a token of each bucket; those before one that is empty are spent.
    pub(crate) fn take(
        &self,
        context: &SecurityContext,
        reader: u64,
        now_nanos: u64,
    ) -> Result<(), TooOften> {
        let taken = |token: Result<bool, LimitExceeded>, name| match token {
            Ok(true) => Ok(()),
            Ok(false) => Err(TooOften::Empty(name)),
            Err(limit) => Err(TooOften::Limit(limit)),
        };
        if let Some((buckets, user)) = self.users.as_ref().zip(context.tenant_user()) {
            taken(buckets.take(&user, now_nanos), "user")?;
        }
        if let Some((buckets, tenant)) = self.tenants.as_ref().zip(context.tenant.as_ref()) {
            taken(buckets.take(tenant, now_nanos), "tenant")?;
        }
        match &self.subscribers {
            Some(buckets) => taken(buckets.take(&reader, now_nanos), "subscriber"),
            None => Ok(()),
        }
    }
}
