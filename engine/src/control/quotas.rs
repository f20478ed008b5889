//! How many readers and subscriptions each user has, where that is bounded. A user is one within a tenant.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{MutexGuard, PoisonError},
};

use super::{ControlPlane, Locked};
use crate::{
    error::LimitExceeded,
    id::User,
    limits::Limits,
    security::SecurityContext,
    shard::{Directory, Key},
};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Quotas {
    users: Locked<HashMap<User, Owned>>,
    subscribers_max: usize,
    subscriptions_max: usize,
}

/// What is a user's.
#[derive(Debug, Default)]
struct Owned {
    subscriptions: usize,
    /// Its readers by number, each with its subscriptions and one more for a reader that said whose it is.
    readers: HashMap<u64, usize>,
}

impl Quotas {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (subscribers_max, subscriptions_max) =
            (limits.subscribers_per_user_max, limits.subscriptions_per_user_max);
        Self { users: Locked::default(), subscribers_max, subscriptions_max }
    }

    fn is_on(&self) -> bool {
        self.subscribers_max < usize::MAX || self.subscriptions_max < usize::MAX
    }

    /// The user whose things are counted, if they are.
    fn user(&self, context: &SecurityContext) -> Option<User> {
        context.tenant_user().filter(|_| self.is_on())
    }

    /// Counts so many subscriptions of a reader, or the reader alone.
    fn take(&self, user: User, reader: u64, subscriptions: usize) -> Result<(), LimitExceeded> {
        let mut users = self.lock();
        let known = users.get(&user);
        let (owned, readers) = known.map_or((0, 0), |owned| (owned.subscriptions, owned.readers.len()));
        let is_new = known.is_none_or(|owned| !owned.readers.contains_key(&reader));
        LimitExceeded::check(
            "subscribers_per_user_max",
            readers + usize::from(is_new),
            self.subscribers_max,
        )?;
        LimitExceeded::check("subscriptions_per_user_max", owned + subscriptions, self.subscriptions_max)?;
        users.entry(user).or_default().add(reader, subscriptions);
        Ok(())
    }

    /// Counts a subscription, whatever the bounds are.
    fn add(&self, user: User, reader: u64) {
        self.lock().entry(user).or_default().add(reader, 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<User, Owned>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what was taken.
    fn give(&self, user: User, reader: u64, subscriptions: usize) {
        let mut users = self.lock();
        let Entry::Occupied(mut user) = users.entry(user) else { return };
        let owned = user.get_mut();
        owned.subscriptions -= subscriptions;
        if let Entry::Occupied(mut uses) = owned.readers.entry(reader) {
            *uses.get_mut() -= 1;
            if *uses.get() == 0 {
                uses.remove();
            }
        }
        if owned.readers.is_empty() {
            user.remove();
        }
    }
}

impl Owned {
    fn add(&mut self, reader: u64, subscriptions: usize) {
        self.subscriptions += subscriptions;
        *self.readers.entry(reader).or_default() += 1;
    }
}

impl ControlPlane {
    /// Counts a subscription of a reader for its user.
    pub(crate) fn take_quota(&self, context: &SecurityContext, reader: u64) -> Result<(), LimitExceeded> {
        self.quotas.user(context).map_or(Ok(()), |user| self.quotas.take(user, reader, 1))
    }

    /// Gives back what [`ControlPlane::take_quota`] took.
    pub(crate) fn give_quota(&self, context: &SecurityContext, reader: u64) {
        if let Some(user) = self.quotas.user(context) {
            self.quotas.give(user, reader, 1);
        }
    }

    /// Counts a reader for its user; answers whose it is then, to be given back by [`ControlPlane::disown`].
    pub(crate) fn own(&self, context: &SecurityContext, reader: u64) -> Result<Option<User>, LimitExceeded> {
        let Some(user) = self.quotas.user(context) else { return Ok(None) };
        self.quotas.take(user.clone(), reader, 0).map(|()| Some(user))
    }

    pub(crate) fn disown(&self, user: User, reader: u64) {
        self.quotas.give(user, reader, 0);
    }

    /// Gives back the quota of subscriptions that are about to be removed.
    pub(super) fn give_quotas(&self, directory: &Directory, keys: impl Iterator<Item = Key>) {
        if self.quotas.is_on() {
            for (key, context) in directory.contexts(keys) {
                self.give_quota(context, key.0);
            }
        }
    }

    /// Moves subscriptions that have another context now to the user of that, whatever its bounds are.
    pub(super) fn move_quota(&self, before: &SecurityContext, now: &SecurityContext, reader: u64) {
        if (&before.user, &before.tenant) != (&now.user, &now.tenant) {
            self.give_quota(before, reader);
            if let Some(user) = self.quotas.user(now) {
                self.quotas.add(user, reader);
            }
        }
    }

    pub(super) fn has_quotas(&self) -> bool {
        self.quotas.is_on()
    }
}
