//! The control side of a shard: who subscribes to what, kept so that equal subscriptions share a group.
//!
//! Every change publishes a new [`Index`] snapshot. A hash finds a group, equality decides (promise P5): keys hold
//! the whole predicate, event types, projection and resolver, and are compared as such.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::{
    group::{Group, Member},
    index::{Groups, Index},
    persistent::PersistentVec,
    render::{Render, Resolver},
};
use crate::{id::ChannelId, overflow::Overflow, plan::Projection, policy::Predicate};

/// What decides a subscription's bytes, once the event is admitted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RenderKey {
    projection: Arc<Projection>,
    /// The resolver's address, its variables as text, and a number that only `per_subscription` sets.
    resolver: Option<(usize, Box<str>, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GroupKey {
    predicate: Predicate,
    events: Arc<[Box<str>]>,
    render: u64,
    overflow: Overflow,
}

/// A subscription to be added.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) id: Arc<str>,
    pub(crate) member: Member,
    /// Its channels, each with the predicate that holds there.
    pub(crate) channels: Vec<(ChannelId, Predicate)>,
    pub(crate) events: Arc<[Box<str>]>,
    pub(crate) projection: Arc<Projection>,
    pub(crate) resolver: Option<Resolver>,
    /// The resolver is asked for this subscription alone.
    pub(crate) per_subscription: bool,
    pub(crate) overflow: Overflow,
}

/// What [`Directory::remove`] needs to know.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) member: Member,
    groups: Box<[(ChannelId, u64)]>,
    render: u64,
}

#[derive(Debug, Default)]
struct Channel {
    groups: Groups,
    serials: HashMap<GroupKey, u64>,
    /// Where each group stands in `groups`, by its serial.
    places: HashMap<u64, usize>,
}

/// A member's seat in a group: the group's serial, the reader, the subscription.
type Seat = (u64, u64, u32);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Directory {
    index: Arc<ArcSwap<Index>>,
    channels: HashMap<ChannelId, Channel>,
    renders: HashMap<RenderKey, (Arc<Render>, usize)>,
    render_keys: HashMap<u64, RenderKey>,
    free_cells: Vec<u32>,
    ids: HashMap<(u64, u32), Arc<str>>,
    /// Where each member stands in its group.
    seats: HashMap<Seat, usize>,
    next_serial: u64,
    free_slots: Vec<u32>,
    next_slot: u32,
}

impl Directory {
    pub(crate) fn new(index: Arc<ArcSwap<Index>>) -> Self {
        Self {
            index,
            channels: HashMap::new(),
            renders: HashMap::new(),
            render_keys: HashMap::new(),
            free_cells: Vec::new(),
            ids: HashMap::new(),
            seats: HashMap::new(),
            next_serial: 0,
            free_slots: Vec::new(),
            next_slot: 0,
        }
    }

    /// A place for a reader.
    pub(crate) fn take_slot(&mut self) -> u32 {
        self.free_slots.pop().unwrap_or_else(|| {
            self.next_slot += 1;
            self.next_slot - 1
        })
    }

    /// Gives the place of a reader back, once its closing was sent.
    pub(crate) fn give_slot(&mut self, slot: u32) {
        self.free_slots.push(slot);
    }

    /// Adds a subscription; when this returns, the snapshot has it.
    pub(crate) fn add(&mut self, subscribed: Subscribed) -> Registration {
        let Subscribed { id, member, channels, events, projection, resolver, per_subscription, overflow } =
            subscribed;
        let render = self.take_render(projection, resolver, per_subscription);
        let mut index = Index::clone(&self.index.load());
        let mut groups = Vec::with_capacity(channels.len());
        for (channel, predicate) in channels {
            let (events, overflow) = (Arc::clone(&events), overflow.clone());
            let key = GroupKey { predicate, events, render: render.serial, overflow };
            let serial = self.next_serial();
            let here = self.channels.entry(channel).or_default();
            let (serial, seat) = here.join(key, serial, &render, member);
            self.seats.insert((serial, member.reader, member.subscription), seat);
            groups.push((channel, serial));
            index.set(channel, here.groups.clone());
        }
        self.index.store(Arc::new(index));
        self.ids.insert((member.reader, member.subscription), id);
        Registration { member, groups: groups.into(), render: render.serial }
    }

    /// The group of a subscription on `channel`, with no other member, not even marked as resumed.
    pub(crate) fn alone(&self, registration: &Registration, channel: ChannelId) -> Option<Arc<Group>> {
        let (_, serial) = registration.groups.iter().find(|(of, _)| *of == channel)?;
        let here = self.channels.get(&channel)?;
        let group = here.groups.get(*here.places.get(serial)?)?;
        let mut members = PersistentVec::default();
        members.push(Member { resumed: false, ..registration.member });
        Some(Arc::new(group.with(members)))
    }

    /// Removes a subscription; when this returns, the snapshot does not have it.
    pub(crate) fn remove(&mut self, registration: &Registration) {
        let member = registration.member;
        let mut index = Index::clone(&self.index.load());
        for &(channel, group) in &registration.groups {
            let seat = self.seats.remove(&(group, member.reader, member.subscription));
            let Some((here, seat)) = self.channels.get_mut(&channel).zip(seat) else { continue };
            if let Some(moved) = here.leave(group, seat) {
                self.seats.insert((group, moved.reader, moved.subscription), seat);
            }
            index.set(channel, here.groups.clone());
            if here.groups.is_empty() {
                self.channels.remove(&channel);
            }
        }
        self.index.store(Arc::new(index));
        self.ids.remove(&(member.reader, member.subscription));
        self.give_render(registration.render);
    }

    /// Whether anybody here subscribes to `channel`.
    pub(crate) fn has(&self, channel: ChannelId) -> bool {
        self.channels.contains_key(&channel)
    }

    /// The ids of the subscriptions on `channel`.
    pub(crate) fn ids(&self, channel: ChannelId) -> impl Iterator<Item = &Arc<str>> {
        let groups = self.channels.get(&channel).into_iter().flat_map(|channel| channel.groups.iter());
        let members = groups.flat_map(|group| group.members.iter());
        members.filter_map(|member| self.ids.get(&(member.reader, member.subscription)))
    }

    fn next_serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    fn take_render(
        &mut self,
        projection: Arc<Projection>,
        resolver: Option<Resolver>,
        per_subscription: bool,
    ) -> Arc<Render> {
        let serial = self.next_serial();
        let alone = if per_subscription { serial } else { 0 };
        let asked = resolver.as_ref().map(|Resolver { resolve, variables, .. }| {
            (Arc::as_ptr(resolve).cast::<()>().addr(), variables.to_string().into_boxed_str(), alone)
        });
        let key = RenderKey { projection: Arc::clone(&projection), resolver: asked };
        let cells = self.renders.len() as u32;
        let (render, users) = self.renders.entry(key.clone()).or_insert_with(|| {
            let cell = self.free_cells.pop().unwrap_or(cells);
            self.render_keys.insert(serial, key);
            (Arc::new(Render { serial, cell, projection, resolver }), 0)
        });
        *users += 1;
        Arc::clone(render)
    }

    fn give_render(&mut self, serial: u64) {
        let Some(key) = self.render_keys.get(&serial) else { return };
        let Some((render, users)) = self.renders.get_mut(key) else { return };
        *users -= 1;
        if *users == 0 {
            self.free_cells.push(render.cell);
            self.renders.remove(key);
            self.render_keys.remove(&serial);
        }
    }
}

impl Channel {
    /// Adds `member` to the group of `key`, which gets `serial` if it is new. Answers the group's serial and the
    /// member's place in it.
    fn join(&mut self, key: GroupKey, serial: u64, render: &Arc<Render>, member: Member) -> (u64, usize) {
        let known = self.serials.get(&key).and_then(|serial| Some((*serial, *self.places.get(serial)?)));
        if let Some((serial, at)) = known
            && let Some(group) = self.groups.get(at)
        {
            let mut members = group.members.clone();
            members.push(member);
            let (seat, group) = (members.len() - 1, Arc::new(group.with(members)));
            self.groups.set(at, group);
            return (serial, seat);
        }
        let mut members = PersistentVec::default();
        members.push(member);
        let GroupKey { predicate, events, overflow, .. } = key.clone();
        self.serials.insert(key, serial);
        self.places.insert(serial, self.groups.len());
        let render = Arc::clone(render);
        self.groups.push(Arc::new(Group { serial, predicate, events, render, overflow, members }));
        (serial, 0)
    }

    /// Takes the member at `seat` out of the group `serial`; answers the member that moved to its seat. A group
    /// without members goes.
    fn leave(&mut self, serial: u64, seat: usize) -> Option<Member> {
        let at = *self.places.get(&serial)?;
        let group = Arc::clone(self.groups.get(at)?);
        let mut members = group.members.clone();
        members.swap_remove(seat);
        let moved = members.get(seat).copied();
        if !members.is_empty() {
            self.groups.set(at, Arc::new(group.with(members)));
            return moved;
        }
        self.serials.remove(&key(&group));
        self.places.remove(&serial);
        self.groups.swap_remove(at);
        if let Some(moved) = self.groups.get(at) {
            self.places.insert(moved.serial, at);
        }
        None
    }
}

fn key(group: &Group) -> GroupKey {
    GroupKey {
        predicate: group.predicate.clone(),
        events: Arc::clone(&group.events),
        render: group.render.serial,
        overflow: group.overflow.clone(),
    }
}
