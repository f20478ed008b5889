//! How often results may be delivered: a bucket for each user, tenant, reader and subscription.
//!
//! The buckets of users and tenants are shared by all shards; those of a reader and its subscriptions belong to the
//! reader's shard. Nothing here takes a lock.

use std::hash::Hash;

use super::{
    SecurityContext,
    rate::{Bucket, Buckets, Rate},
};
use crate::{
    id::{Identity, Millis, User},
    limits::Limits,
};

/// Rates of delivery; `None`: as many results as there are.
///
/// A result takes a token of each bucket that it has: of its subscription first, then of its reader, its user, its
/// tenant. One that finds no token is not delivered; its reader is told so in-band, and those before it are spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DeliveryRates {
    /// For each user of a tenant, on all its connections; readers without a user are not counted here.
    pub user: Option<Rate>,
    /// For each tenant, on all connections of its users; readers without one are not counted here.
    pub tenant: Option<Rate>,
    /// For each reader, that is each connection.
    pub subscriber: Option<Rate>,
    /// For each subscription.
    pub subscription: Option<Rate>,
}

impl DeliveryRates {
    /// Whether nothing is limited.
    pub(crate) fn is_off(&self) -> bool {
        *self == Self::default()
    }
}

/// The buckets that all shards share, and the rates of those that they do not.
#[derive(Debug)]
pub(crate) struct Metered {
    rates: DeliveryRates,
    users: Option<Buckets<User>>,
    tenants: Option<Buckets<Identity>>,
}

impl Metered {
    pub(crate) fn new(rates: DeliveryRates, limits: &Limits) -> Self {
        let users = rates.user.map(|rate| Buckets::new(rate, limits));
        let tenants = rates.tenant.map(|rate| Buckets::new(rate, limits));
        Self { rates, users, tenants }
    }

    /// Whether deliveries are limited at all.
    pub(crate) fn is_on(&self) -> bool {
        !self.rates.is_off()
    }
}

/// The buckets of one reader and its subscriptions.
#[derive(Debug)]
pub(crate) struct Meters {
    reader: Option<Bucket>,
    /// By lane, so that there are never more than subscriptions at the same time.
    lanes: Vec<Option<Meter>>,
}

/// One subscription: whose it is, and its own bucket.
#[derive(Debug)]
struct Meter {
    subscription: u32,
    user: Option<User>,
    tenant: Option<Identity>,
    bucket: Option<Bucket>,
    /// Something was withheld since the last frame.
    withheld: bool,
}

impl Meters {
    pub(crate) fn new(metered: &Metered) -> Self {
        Self { reader: metered.rates.subscriber.map(Bucket::new), lanes: Vec::new() }
    }

    /// Adds a subscription, or replaces the context of one that is here: its bucket stays.
    pub(crate) fn put(&mut self, metered: &Metered, lane: u16, subscription: u32, context: &SecurityContext) {
        let lane = usize::from(lane);
        if self.lanes.len() <= lane {
            self.lanes.resize_with(lane + 1, || None);
        }
        let before = self.lanes[lane].take().filter(|meter| meter.subscription == subscription);
        let fresh = || (metered.rates.subscription.map(Bucket::new), false);
        let (bucket, withheld) = before.map_or_else(fresh, |meter| (meter.bucket, meter.withheld));
        self.lanes[lane] = Some(Meter {
            subscription,
            user: context.tenant_user(),
            tenant: context.tenant.clone(),
            bucket,
            withheld,
        });
    }

    /// Notes that something was withheld from the subscription of a lane.
    pub(crate) fn withhold(&mut self, lane: u16) {
        if let Some(Some(meter)) = self.lanes.get_mut(usize::from(lane)) {
            meter.withheld = true;
        }
    }

    /// Whether something was withheld since the last call.
    pub(crate) fn take_withheld(&mut self, lane: u16) -> bool {
        let meter = self.lanes.get_mut(usize::from(lane)).and_then(Option::as_mut);
        meter.is_some_and(|meter| std::mem::take(&mut meter.withheld))
    }

    /// The first bucket of a subscription that has no token, by whose it is; none is taken.
    pub(crate) fn empty(
        &self,
        metered: &Metered,
        lane: u16,
        subscription: u32,
        Millis(now): Millis,
    ) -> Option<&'static str> {
        let meter = self.lanes.get(usize::from(lane))?.as_ref()?;
        let now = now.saturating_mul(1_000_000);
        let own = |bucket: &Option<Bucket>| bucket.as_ref().is_some_and(|bucket| !bucket.has_token(now));
        let Meter { user, tenant, bucket, .. } = meter;
        let buckets = [
            ("subscription", own(bucket)),
            ("connection", own(&self.reader)),
            ("user", is_empty(metered.users.as_ref(), user.as_ref(), now)),
            ("tenant", is_empty(metered.tenants.as_ref(), tenant.as_ref(), now)),
        ];
        let empty = buckets.into_iter().find(|(_, is_empty)| *is_empty)?;
        (meter.subscription == subscription).then_some(empty.0)
    }

    /// Takes a token of each bucket of a subscription; answers whether there were all. `None`: there is no such
    /// subscription (yet).
    pub(crate) fn take(
        &self,
        metered: &Metered,
        lane: u16,
        subscription: u32,
        Millis(now): Millis,
    ) -> Option<bool> {
        let meter = self.lanes.get(usize::from(lane))?.as_ref()?;
        let now = now.saturating_mul(1_000_000);
        let own = |bucket: &Option<Bucket>| bucket.as_ref().is_none_or(|bucket| bucket.take(now));
        let Meter { user, tenant, bucket, .. } = meter;
        (meter.subscription == subscription).then(|| {
            own(bucket)
                && own(&self.reader)
                && take(metered.users.as_ref(), user.as_ref(), now)
                && take(metered.tenants.as_ref(), tenant.as_ref(), now)
        })
    }
}

fn is_empty<K: Clone + Eq + Hash>(buckets: Option<&Buckets<K>>, key: Option<&K>, now: u64) -> bool {
    buckets.zip(key).is_some_and(|(buckets, key)| !buckets.have_token(key, now))
}

/// No room for one more key is no token.
fn take<K: Clone + Eq + Hash>(buckets: Option<&Buckets<K>>, key: Option<&K>, now: u64) -> bool {
    buckets.zip(key).is_none_or(|(buckets, key)| buckets.take(key, now).unwrap_or(false))
}
