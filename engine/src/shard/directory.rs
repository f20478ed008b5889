//! The control side of a shard: who subscribes to what, kept so that equal subscriptions share a group.
//!
//! Every change publishes a new [`Index`] snapshot. A hash finds a group, equality decides (promise P5): keys hold
//! the whole predicate, event types, projection and resolver, and are compared as such.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::{
    group::{Group, Member, Members},
    index::{Groups, Index},
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
    /// Each channel, and the number of its group there.
    groups: Box<[(ChannelId, u32)]>,
    render: u64,
}

#[derive(Debug, Default)]
struct Channel {
    groups: Arc<Groups>,
    numbers: HashMap<GroupKey, u32>,
    /// Numbers of groups that have gone.
    free: Vec<u32>,
}

/// A member of a group: the channel, the group's number, the reader, the subscription.
type Seat = (ChannelId, u32, u64, u32);

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
            let here = self.channels.entry(channel).or_default();
            let (number, seat) = here.join(key, &render, member);
            self.seats.insert((channel, number, member.reader, member.subscription), seat);
            groups.push((channel, number));
            index.set(channel, Arc::clone(&here.groups));
        }
        self.index.store(Arc::new(index));
        self.ids.insert((member.reader, member.subscription), id);
        Registration { member, groups: groups.into(), render: render.serial }
    }

    /// The group of a subscription on `channel`, with no other member, not even marked as resumed.
    pub(crate) fn alone(&self, registration: &Registration, channel: ChannelId) -> Option<Arc<Group>> {
        let (_, number) = registration.groups.iter().find(|(of, _)| *of == channel)?;
        let group = self.channels.get(&channel)?.groups.get(*number)?;
        let member = Member { resumed: false, ..registration.member };
        Some(Arc::new(group.with(Members::One(member))))
    }

    /// Removes a subscription; when this returns, the snapshot does not have it.
    pub(crate) fn remove(&mut self, registration: &Registration) {
        let member = registration.member;
        let mut index = Index::clone(&self.index.load());
        for &(channel, number) in &registration.groups {
            let seat = self.seats.remove(&(channel, number, member.reader, member.subscription));
            let Some((here, seat)) = self.channels.get_mut(&channel).zip(seat) else { continue };
            if let Some(moved) = here.leave(number, seat) {
                self.seats.insert((channel, number, moved.reader, moved.subscription), seat);
            }
            if here.groups.is_empty() {
                // The snapshot, too, lets the list of the groups' numbers go.
                index.set(channel, Arc::default());
                self.channels.remove(&channel);
            } else {
                index.set(channel, Arc::clone(&here.groups));
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
        let members = groups.flat_map(|group| group.members.chunks().flatten());
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
    /// Adds `member` to the group of `key`. Answers the group's number and the member's place in it.
    fn join(&mut self, key: GroupKey, render: &Arc<Render>, member: Member) -> (u32, usize) {
        let known = self.numbers.get(&key).copied();
        let groups = Arc::make_mut(&mut self.groups);
        if let Some((number, group)) = known.and_then(|number| Some((number, groups.get(number)?))) {
            let (seat, members) = (group.members.len(), group.members.and(member));
            groups.put(number, Arc::new(group.with(members)));
            return (number, seat);
        }
        let number = self.free.pop().unwrap_or_else(|| groups.next_number());
        let GroupKey { predicate, events, overflow, .. } = key.clone();
        self.numbers.insert(key, number);
        let (render, members) = (Arc::clone(render), Members::One(member));
        groups.put(number, Arc::new(Group { predicate, events, render, overflow, members }));
        (number, 0)
    }

    /// Takes the member at `seat` out of the group `number`; answers the member that moved to its seat. A group
    /// without members goes.
    fn leave(&mut self, number: u32, seat: usize) -> Option<Member> {
        let groups = Arc::make_mut(&mut self.groups);
        let group = Arc::clone(groups.get(number)?);
        let Some(members) = group.members.without(seat) else {
            groups.remove(number);
            self.numbers.remove(&key(&group));
            self.free.push(number);
            return None;
        };
        let moved = members.get(seat).copied();
        groups.put(number, Arc::new(group.with(members)));
        moved
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
