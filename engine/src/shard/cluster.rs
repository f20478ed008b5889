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

use bumpalo::Bump;

use super::persistent::PersistentMap;
use crate::policy::{Facts, KEYS_MAX, Key, Predicate, Reading, Scalar, Verified};

/// Hashes the values of keys; seeded at random, because the values come from outside.
type Hashes = foldhash::fast::RandomState;

/// What one key lets through.
type Value = Scalar<Arc<str>>;

/// Values of the keys that an event must have.
type Values = Box<[Value]>;

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
    /// For each of the other keys: the groups by value.
    by_value: Box<[PersistentMap<Value, Postings>]>,
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

    /// Keys that lead to one bucket: the event must have one value.
    fn required(&self) -> impl Iterator<Item = (usize, &Key)> {
        self.program.keys().iter().enumerate().filter(|(_, key)| !has_lists(key))
    }

    /// Keys that lead to lists: the event may lack the field, or have one of several values.
    fn listed(&self) -> impl Iterator<Item = (usize, &Key)> {
        self.program.keys().iter().enumerate().filter(|(_, key)| has_lists(key))
    }

    fn hash<'a>(&self, values: impl IntoIterator<Item = Scalar<&'a str>>) -> u64 {
        values.into_iter().fold(0, |hash, value| self.hashes.hash_one((hash, value)))
    }

    pub(super) fn program(&self) -> &Arc<Verified> {
        &self.program
    }

    /// The groups that may admit an event, and whether all keys of all of them hold; `None`: none admits it.
    pub(super) fn candidates<'a, F: Facts>(
        &self,
        reading: &mut Reading<'a, F>,
        arena: &'a Bump,
    ) -> Option<(&Postings, bool)> {
        let mut known: [Option<Scalar<&str>>; KEYS_MAX] = [None; KEYS_MAX];
        for (key, known) in self.program.keys().iter().zip(&mut known) {
            let value = reading.field(key.field);
            if !self.program.passes_absent(key, &value) {
                *known = Some(Scalar::of(value, key.identity, arena)?);
            }
        }
        let hash = self.hash(self.required().filter_map(|(at, _)| known[at]));
        let is = |values: &Values| {
            self.required().zip(values).all(|((at, _), value)| known[at] == Some(value.borrow()))
        };
        let bucket = self.buckets.get(hash, is)?;
        let (mut shortest, mut lists_asked) = (&bucket.all, 0);
        for ((at, _), lists) in self.listed().zip(&bucket.by_value) {
            let Some(value) = known[at] else { continue };
            let list = lists.get(self.hash([value]), |other| other.borrow() == value)?;
            lists_asked += 1;
            if list.len() < shortest.len() {
                shortest = list;
            }
        }
        // With two lists, a group of the shorter one need not be in the other.
        Some((shortest, lists_asked <= 1))
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
        // A reader without a value that an event must equal sees nothing: it stands in no list.
        let values: Option<Values> = self.required().map(|(_, key)| predicate.scalars(key).pop()).collect();
        let Some(values) = values else { return };
        let hash = self.hash(values.iter().map(Value::borrow));
        let listed: Vec<Vec<(u64, Value)>> = self
            .listed()
            .map(|(_, key)| {
                let hashed = |value: Value| (self.hash([value.borrow()]), value);
                predicate.scalars(key).into_iter().map(hashed).collect()
            })
            .collect();
        let is = |other: &Values| *other == values;
        if !make && self.buckets.get(hash, is).is_none() {
            return;
        }
        let new = || {
            let by_value = listed.iter().map(|_| PersistentMap::default()).collect();
            (values.clone(), Arc::new(Bucket { all: Postings::None, by_value }))
        };
        let bucket = Arc::make_mut(self.buckets.get_or_insert(hash, is, new));
        change(&mut bucket.all);
        for (values, lists) in listed.iter().zip(&mut bucket.by_value) {
            for (hash, value) in values {
                let is = |other: &Value| other == value;
                let list = lists.get_or_insert(*hash, is, || (value.clone(), Postings::None));
                change(list);
                if list.len() == 0 {
                    lists.remove(*hash, is);
                }
            }
        }
        if bucket.all.len() == 0 {
            self.buckets.remove(hash, is);
        }
    }
}

fn has_lists(key: &Key) -> bool {
    key.optional || key.list
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
