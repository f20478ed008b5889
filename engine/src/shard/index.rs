//! The copy-on-write index: channel → clusters → groups. Readers see one snapshot; a change copies what it changes.

#[cfg(all(test, not(coulis_loom)))]
mod tests;

use std::sync::Arc;

use bumpalo::Bump;

use super::{
    cluster::Cluster,
    facts::{Image, Old},
    group::Group,
    persistent::PersistentVec,
    resume::Resume,
    window::Window,
};
use crate::{
    event::Stamped,
    id::ChannelId,
    policy::{Decision, Facts, Reading, Scratch},
    ring::prefetch,
};

/// The groups of one channel, by number, and the ways to find them.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    by_number: PersistentVec<Option<Arc<Group>>>,
    clusters: Vec<Arc<Cluster>>,
}

/// An immutable snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// By the channel's number.
    channels: PersistentVec<Arc<Groups>>,
}

impl Index {
    /// Steps 5 and 6 of the road: hands each group that admits an event to `each`, those of its own channel first, then
    /// those of `"*"`. Answers how many subscriptions want events of this type there, admitted or not.
    pub(crate) fn matching<'a>(
        &'a self,
        event: &Stamped,
        judge: &mut Judge,
        mut each: impl FnMut(&'a Arc<Group>, Image),
    ) -> u64 {
        let Stamped { event: told, .. } = event;
        let old = Old::of(told);
        let mut members = 0;
        for channel in [event.channel, ChannelId::ANY] {
            let Some(groups) = self.channels.get(channel.0 as usize) else { continue };
            for cluster in &groups.clusters {
                if !wants(&cluster.events, told.event_type()) {
                    continue;
                }
                members += cluster.members;
                if !told.is_deletion() {
                    groups.admitting(cluster, told, judge, &mut |group| each(group, Image::New));
                }
                if let Some(old) = &old {
                    groups.admitting(cluster, old, judge, &mut |group| {
                        if told.is_deletion() || !group.predicate.admits(told) {
                            each(group, Image::Old);
                        }
                    });
                }
            }
        }
        judge.facts.reset();
        members
    }

    /// The groups of all channels.
    pub(super) fn channels(&self) -> impl Iterator<Item = (ChannelId, &Arc<Groups>)> {
        self.channels.iter().enumerate().map(|(at, groups)| (ChannelId(at as u32), groups))
    }

    /// Whether a subscription that resumes is judged and rendered as it was when that began.
    pub(super) fn judges_as(&self, Resume { channel, number, to, .. }: &Resume) -> bool {
        let groups = self.channels.get(channel.0 as usize);
        groups
            .and_then(|groups| groups.get(*number))
            .is_some_and(|group| group.render.serial == to.render.serial && group.predicate == to.predicate)
    }

    /// Replaces the groups of one channel.
    pub(super) fn set(&mut self, channel: ChannelId, groups: Arc<Groups>) {
        let at = channel.0 as usize;
        while self.channels.len() <= at {
            self.channels.push(Arc::default());
        }
        self.channels.set(at, groups);
    }
}

/// What predicates need to decide, used again for each event.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// What was read of the event.
    facts: Bump,
    scratch: Scratch,
    /// Members for which there was no answer.
    pub(crate) errors: u64,
    /// Their groups, where somebody asks for them.
    pub(crate) erring: Option<Vec<Arc<Group>>>,
}

impl Judge {
    /// A judge who keeps the groups whose predicate had no answer, if `keeps` says so.
    pub(crate) fn new(keeps: bool) -> Self {
        Self { erring: keeps.then(Vec::new), ..Self::default() }
    }
}

/// Whether `event_type` is among those that are wanted; an empty list wants all.
pub(crate) fn wants(wanted: &[Box<str>], event_type: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| **wanted == *event_type)
}

impl Groups {
    pub(super) fn get(&self, number: u32) -> Option<&Arc<Group>> {
        self.by_number.get(number as usize)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.by_number.iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// The groups of one cluster: its fields are read once for all of them.
    fn admitting<'a>(
        &'a self,
        cluster: &Cluster,
        event: &impl Facts,
        judge: &mut Judge,
        each: &mut impl FnMut(&'a Arc<Group>),
    ) {
        let Judge { facts, scratch, errors, erring } = judge;
        let mut reading = Reading::new(cluster.program(), event, facts);
        let Some((postings, keys_hold)) = cluster.candidates(&mut reading, facts) else { return };
        let sure = keys_hold && cluster.program().is_keys_only();
        let mut decide = |group: &'a Arc<Group>| {
            let mut decide = || group.predicate.decide(&mut reading, scratch, keys_hold);
            match if sure { Decision::Admitted } else { decide() } {
                Decision::Admitted => each(group),
                Decision::Denied => {}
                Decision::Error(_) => {
                    *errors += group.members.len() as u64;
                    if let Some(erring) = erring {
                        erring.push(Arc::clone(group));
                    }
                }
            }
        };
        let mut window = Window::new();
        postings.for_each(|number| {
            if window.put(number) {
                self.fetched(window.take()).for_each(&mut decide);
            }
        });
        self.fetched(window.take()).for_each(decide);
    }

    /// The groups of these numbers, whose memory is fetched for all of them at once.
    fn fetched(&self, numbers: impl Iterator<Item = u32> + Clone) -> impl Iterator<Item = &Arc<Group>> {
        numbers.clone().for_each(|number| self.by_number.prefetch(number as usize));
        for group in numbers.clone().filter_map(|number| self.get(number)) {
            prefetch(Arc::as_ptr(group), size_of::<Group>().div_ceil(64));
        }
        numbers.filter_map(|number| self.get(number))
    }

    /// A number that no group has: the next one, where `free` has none.
    pub(super) fn next_number(&self) -> u32 {
        self.by_number.len() as u32
    }

    /// Puts a group, new or with other members than before, under `number`.
    pub(super) fn put(&mut self, number: u32, group: Arc<Group>) {
        let before = self.get(number).map_or(0, |group| group.members.len() as u64);
        let cluster = self.cluster(&group);
        cluster.members = cluster.members - before + group.members.len() as u64;
        if before == 0 {
            cluster.insert(number, &group.predicate);
        }
        if number == self.next_number() {
            self.by_number.push(Some(group));
        } else {
            self.by_number.set(number as usize, Some(group));
        }
    }

    /// Removes the group under `number`.
    pub(super) fn remove(&mut self, number: u32) {
        let Some(group) = self.get(number).cloned() else { return };
        let cluster = self.cluster(&group);
        cluster.members -= group.members.len() as u64;
        cluster.remove(number, &group.predicate);
        self.clusters.retain(|cluster| !cluster.is_empty());
        self.by_number.set(number as usize, None);
    }

    /// The cluster where `group` belongs, made at its first group.
    fn cluster(&mut self, group: &Group) -> &mut Cluster {
        let known = self.clusters.iter().position(|cluster| cluster.fits(&group.events, &group.predicate));
        let at = known.unwrap_or_else(|| {
            self.clusters.push(Arc::new(Cluster::new(Arc::clone(&group.events), &group.predicate)));
            self.clusters.len() - 1
        });
        Arc::make_mut(&mut self.clusters[at])
    }
}
