//! Groups that look at the same fields of an event, found by what the event holds there.
//!
//! A predicate's program begins with equalities that must all hold ([`Verified::keys`]); these are the keys. Those that
//! the event must have are hashed together and lead to one bucket. Those that may be absent (an event without a
//! tenant is for every tenant) have a list for each value, and the shortest list of the fields that are there is
//! walked: every group that is not in it would deny. So the work grows with the matches, not with the groups, as with
//! the access predicates of Fabret et al., "Filtering Algorithms and Implementation for Very Fast
//! Publish/Subscribe Systems" (SIGMOD 2001, doi:10.1145/375663.375677). What the lists do not decide is still asked:
//! the index decides how fast a predicate is answered, never what the answer is.

use std::{hash::BuildHasher as _, sync::Arc};

use super::persistent::PersistentMap;
use crate::{
    id::Identity,
    policy::{Fact, Facts, KEYS_MAX, Key, Predicate, Verified},
};

/// Hashes the values of keys; seeded at random, because the values come from outside.
type Hashes = foldhash::fast::RandomState;

/// Values of the keys that an event must have.
type Values = Box<[Identity]>;

/// Numbers of groups.
#[derive(Clone, Debug, Default)]
pub(super) enum Postings {
    #[default]
    None,
    One(u32),
    Many(PersistentMap<u32, ()>),
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// Event types that its groups want; empty: all.
    pub(super) events: Arc<[Box<str>]>,
    program: Arc<Verified>,
    /// The members of all groups.
    pub(super) members: u64,
    groups: u64,
    hashes: Hashes,
    /// By the values of the keys that an event must have.
    buckets: PersistentMap<Values, Arc<Bucket>>,
}

/// Groups with equal values of the keys that an event must have.
#[derive(Clone, Debug)]
struct Bucket {
    all: Postings,
    /// For each key that an event may lack: the groups by value.
    by_value: Box<[PersistentMap<Identity, Postings>]>,
}

impl Cluster {
    pub(super) fn new(events: Arc<[Box<str>]>, predicate: &Predicate) -> Self {
        Self {
            events,
            program: Arc::clone(predicate.program()),
            members: 0,
            groups: 0,
            hashes: Hashes::default(),
            buckets: PersistentMap::default(),
        }
    }

    /// Whether groups with these events and this predicate belong here.
    pub(super) fn fits(&self, events: &[Box<str>], predicate: &Predicate) -> bool {
        *self.events == *events
            && (Arc::ptr_eq(&self.program, predicate.program()) || self.program == *predicate.program())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups == 0
    }

    fn required(&self) -> impl Iterator<Item = (usize, &Key)> {
        self.program.keys().iter().enumerate().filter(|(_, key)| !key.optional)
    }

    fn optional(&self) -> impl Iterator<Item = (usize, &Key)> {
        self.program.keys().iter().enumerate().filter(|(_, key)| key.optional)
    }

    fn hash<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> u64 {
        values.into_iter().fold(0, |hash, value| self.hashes.hash_one((hash, value)))
    }

    /// The groups that may admit an event, and whether it is sure that they do; `None`: none does.
    pub(super) fn candidates(&self, facts: &impl Facts) -> Option<(&Postings, bool)> {
        let mut known: [Fact<'_>; KEYS_MAX] = [const { Fact::Absent }; KEYS_MAX];
        for (key, known) in self.program.keys().iter().zip(&mut known) {
            *known = facts.fact(self.program.field(key.field)?);
            if *known == Fact::Incomparable {
                return None;
            }
        }
        let mut hash = 0;
        for (at, _) in self.required() {
            hash = self.hashes.hash_one((hash, known[at].text()?));
        }
        let is = |values: &Values| {
            self.required().zip(values).all(|((at, _), value)| known[at].text() == Some(value.as_str()))
        };
        let bucket = self.buckets.get(hash, is)?;
        let (mut shortest, mut lists_asked) = (&bucket.all, 0);
        for ((at, _), lists) in self.optional().zip(&bucket.by_value) {
            let Some(text) = known[at].text() else { continue };
            let list = lists.get(self.hash([text]), |value| value.as_str() == text)?;
            lists_asked += 1;
            if list.len() < shortest.len() {
                shortest = list;
            }
        }
        // With two lists, a group of the shorter one need not be in the other.
        Some((shortest, self.program.is_keys_only() && lists_asked <= 1))
    }

    /// Adds a group with this predicate.
    pub(super) fn insert(&mut self, group: u32, predicate: &Predicate) {
        self.groups += 1;
        self.each_list(predicate, true, |list| list.insert(group));
    }

    /// Removes a group with this predicate.
    pub(super) fn remove(&mut self, group: u32, predicate: &Predicate) {
        self.groups -= 1;
        self.each_list(predicate, false, |list| list.remove(group));
    }

    /// Lets `change` have each list that a group stands in; lists and buckets that are empty then go.
    fn each_list(&mut self, predicate: &Predicate, make: bool, change: impl Fn(&mut Postings)) {
        let value = |key: &Key| predicate.constant(key.constant);
        // A reader without a value that an event must equal sees nothing: it stands in no list.
        let values: Option<Values> = self.required().map(|(_, key)| value(key).cloned()).collect();
        let Some(values) = values else { return };
        let hash = self.hash(values.iter().map(Identity::as_str));
        let optional: Vec<_> = self.optional().map(|(_, key)| value(key).cloned()).collect();
        let hashes: Vec<_> =
            optional.iter().map(|value| self.hash(value.iter().map(Identity::as_str))).collect();
        let is = |other: &Values| *other == values;
        if !make && self.buckets.get(hash, is).is_none() {
            return;
        }
        let new = || {
            let by_value = optional.iter().map(|_| PersistentMap::default()).collect();
            (values.clone(), Arc::new(Bucket { all: Postings::None, by_value }))
        };
        let bucket = Arc::make_mut(self.buckets.get_or_insert(hash, is, new));
        change(&mut bucket.all);
        for ((value, hash), lists) in optional.iter().zip(hashes).zip(&mut bucket.by_value) {
            let Some(value) = value else { continue };
            let is = |other: &Identity| other == value;
            let list = lists.get_or_insert(hash, is, || (value.clone(), Postings::None));
            change(list);
            if list.len() == 0 {
                lists.remove(hash, is);
            }
        }
        if bucket.all.len() == 0 {
            self.buckets.remove(hash, is);
        }
    }
}

impl Postings {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(groups) => groups.len(),
        }
    }

    pub(super) fn for_each(&self, mut each: impl FnMut(u32)) {
        match self {
            Self::None => {}
            Self::One(group) => each(*group),
            Self::Many(groups) => groups.for_each(|group, ()| each(*group)),
        }
    }

    fn insert(&mut self, group: u32) {
        let mut groups = match self {
            Self::None => return *self = Self::One(group),
            Self::One(other) => {
                let mut groups = PersistentMap::default();
                add(&mut groups, *other);
                groups
            }
            Self::Many(groups) => std::mem::take(groups),
        };
        add(&mut groups, group);
        *self = Self::Many(groups);
    }

    fn remove(&mut self, group: u32) {
        match self {
            Self::One(other) if *other == group => *self = Self::None,
            Self::Many(groups) => {
                groups.remove(u64::from(group), |other| *other == group);
                if groups.is_empty() {
                    *self = Self::None;
                }
            }
            Self::None | Self::One(_) => {}
        }
    }
}

/// Numbers are dense: they are their own hash.
fn add(groups: &mut PersistentMap<u32, ()>, group: u32) {
    groups.get_or_insert(u64::from(group), |other| *other == group, || (group, ()));
}
