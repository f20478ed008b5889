//! The control side of a shard: who subscribes to what, kept so that equal subscriptions share a group.
//!
//! Every change publishes a new [`Index`] snapshot. A hash finds a group, equality decides: keys hold
//! the whole predicate, event types, projection and resolver, and are compared as such.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::{
    group::{Group, Member, Members},
    index::{Groups, Index},
    render::{Render, Resolver},
};
use crate::{
    id::{ChannelId, ShardId},
    link::{End, Link},
    overflow::Overflow,
    plan::{OperationName, Projection},
    policy::Predicate,
    router,
    security::{Asked, SecurityContext},
    sync,
    value::Value,
};

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
    pub(crate) projection: Arc<Projection>,
    pub(crate) resolver: Option<Resolver>,
    /// The resolver is asked for this subscription alone.
    pub(crate) per_subscription: bool,
    pub(crate) overflow: Overflow,
    pub(crate) recipe: Recipe,
}

/// What a subscription was made of, to judge it anew. Most subscriptions have it in common with others.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) context: Arc<SecurityContext>,
    pub(crate) terms: Arc<Terms>,
}

/// What was asked for, whoever asked.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) asked: Asked,
    /// Its channels and their names.
    pub(crate) channels: Box<[(Arc<router::Channel>, Box<str>)]>,
    /// Event types that are wanted; empty: all.
    pub(crate) events: Arc<[Box<str>]>,
    /// The document, its operation and the coerced variables.
    pub(crate) document: Arc<str>,
    pub(crate) operation: OperationName,
    pub(crate) variables: Value,
    /// What was selected, before it was decided what the reader may read of it.
    pub(crate) projection: Arc<Projection>,
}

impl Terms {
    /// Whether others that select the very same ask for the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let names = |terms: &Self| terms.channels.iter().map(|(channel, _)| channel.id).collect::<Vec<_>>();
        Arc::ptr_eq(&self.projection, &other.projection)
            && self.asked == other.asked
            && self.events == other.events
            && names(self) == names(other)
    }
}

/// How a subscription is judged: its predicates by channel, and what is new of the rest.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) predicates: Vec<Predicate>,
    pub(crate) context: Option<Arc<SecurityContext>>,
    /// What its reader may read.
    pub(crate) projection: Option<Arc<Projection>>,
    pub(crate) terms: Option<Arc<Terms>>,
}

/// A subscription as it stands in the index.
#[derive(Debug)]
struct Entry {
    id: Arc<str>,
    member: Member,
    recipe: Recipe,
    /// Each channel, and the number of its group there.
    groups: Box<[(ChannelId, u32)]>,
    render: Arc<Render>,
    per_subscription: bool,
}

/// A subscription in its shard: its reader's number and its own.
pub(crate) type Key = (u64, u32);

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
    entries: HashMap<Key, Entry>,
    /// What each reader shares with its shard.
    links: HashMap<u64, sync::Arc<Link>>,
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
            entries: HashMap::new(),
            links: HashMap::new(),
            seats: HashMap::new(),
            next_serial: 0,
            free_slots: Vec::new(),
            next_slot: 0,
        }
    }

    /// A place for a reader.
    pub(crate) fn take_slot(&mut self, reader: u64, link: &sync::Arc<Link>) -> u32 {
        self.links.insert(reader, sync::Arc::clone(link));
        self.free_slots.pop().unwrap_or_else(|| {
            self.next_slot += 1;
            self.next_slot - 1
        })
    }

    /// Gives the place of a reader back, once its closing was sent.
    pub(crate) fn give_slot(&mut self, reader: u64, slot: u32) {
        self.links.remove(&reader);
        self.free_slots.push(slot);
    }

    /// Adds a subscription; when this returns, the snapshot has it.
    pub(crate) fn add(&mut self, subscribed: Subscribed) {
        let Subscribed { id, member, channels, projection, resolver, per_subscription, overflow, recipe } =
            subscribed;
        let events = &recipe.terms.events;
        let render = self.take_render(projection, resolver, per_subscription);
        let mut index = Index::clone(&self.index.load());
        let mut groups = Vec::with_capacity(channels.len());
        for (channel, predicate) in channels {
            let (events, overflow) = (Arc::clone(events), overflow.clone());
            let key = GroupKey { predicate, events, render: render.serial, overflow };
            groups.push((channel, self.join(&mut index, channel, key, &render, member)));
        }
        self.index.store(Arc::new(index));
        let entry = Entry { id, member, recipe, groups: groups.into(), render, per_subscription };
        self.entries.insert((member.reader, member.subscription), entry);
    }

    fn join(
        &mut self,
        index: &mut Index,
        channel: ChannelId,
        key: GroupKey,
        render: &Arc<Render>,
        member: Member,
    ) -> u32 {
        let here = self.channels.entry(channel).or_default();
        let (number, seat) = here.join(key, render, member);
        self.seats.insert((channel, number, member.reader, member.subscription), seat);
        index.set(channel, Arc::clone(&here.groups));
        number
    }

    /// Answers the member's group as it was.
    fn leave(
        &mut self,
        index: &mut Index,
        channel: ChannelId,
        number: u32,
        member: Member,
    ) -> Option<Arc<Group>> {
        let seat = self.seats.remove(&(channel, number, member.reader, member.subscription))?;
        let here = self.channels.get_mut(&channel)?;
        let group = here.groups.get(number).cloned();
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
        group
    }

    /// The group of a subscription on `channel` and its number, with no other member, not even marked as resumed.
    pub(crate) fn alone(&self, member: Member, channel: ChannelId) -> Option<(u32, Arc<Group>)> {
        let entry = self.entries.get(&(member.reader, member.subscription))?;
        let (_, number) = entry.groups.iter().find(|(of, _)| *of == channel)?;
        let group = self.channels.get(&channel)?.groups.get(*number)?;
        let member = Member { resumed: false, ..member };
        Some((*number, Arc::new(group.with(Members::One(member)))))
    }

    /// Removes subscriptions; when this returns, the snapshot does not have them. Answers how many there were.
    pub(crate) fn remove(&mut self, shard: ShardId, keys: impl IntoIterator<Item = Key>) -> u64 {
        let mut index = Index::clone(&self.index.load());
        let mut count = 0;
        for key in keys {
            let Some(entry) = self.entries.remove(&key) else { continue };
            for (channel, number) in entry.groups {
                self.leave(&mut index, channel, number, entry.member);
            }
            for (channel, _) in &entry.recipe.terms.channels {
                channel.set_reader(shard, self.has(channel.id));
            }
            self.give_render(entry.render.serial);
            count += 1;
        }
        self.index.store(Arc::new(index));
        count
    }

    /// The keys of the subscriptions that `which` holds for.
    pub(crate) fn which(&self, which: impl Fn(Key, &Recipe) -> bool) -> Vec<Key> {
        self.entries.iter().filter(|(key, entry)| which(**key, &entry.recipe)).map(|(key, _)| *key).collect()
    }

    /// The contexts of the subscriptions with these keys.
    pub(crate) fn contexts(
        &self,
        keys: impl Iterator<Item = Key>,
    ) -> impl Iterator<Item = (Key, &Arc<SecurityContext>)> {
        keys.filter_map(|key| Some((key, &self.entries.get(&key)?.recipe.context)))
    }

    /// The members of the subscriptions with these keys.
    pub(crate) fn members(&self, keys: &[Key]) -> impl Iterator<Item = Member> {
        keys.iter().filter_map(|key| Some(self.entries.get(key)?.member))
    }

    /// Has subscriptions judged anew, all with one snapshot. Answers those that `judge` ends, and why.
    pub(crate) fn rejudge<E>(
        &mut self,
        keys: &[Key],
        mut judge: impl FnMut(&Recipe) -> Result<Judged, E>,
    ) -> Vec<(Key, E)> {
        let mut index = Index::clone(&self.index.load());
        let mut ending = Vec::new();
        for key in keys {
            let Some(mut entry) = self.entries.remove(key) else { continue };
            match judge(&entry.recipe) {
                Ok(judged) => self.apply(&mut index, &mut entry, judged),
                Err(error) => ending.push((*key, error)),
            }
            self.entries.insert(*key, entry);
        }
        self.index.store(Arc::new(index));
        ending
    }

    /// Moves a subscription to the groups that it belongs to now; where that is the old one, nothing changes.
    fn apply(&mut self, index: &mut Index, entry: &mut Entry, judged: Judged) {
        let Judged { predicates, context, projection, terms } = judged;
        let before = Arc::clone(&entry.render);
        let resolver = before.resolver.clone().map(|resolver| match &terms {
            Some(terms) if terms.variables != *resolver.variables => {
                Resolver { variables: Arc::new(terms.variables.clone()), ..resolver }
            }
            _ => resolver,
        });
        let variables = |resolver: &Option<Resolver>| resolver.as_ref().map(|of| Arc::as_ptr(&of.variables));
        let projection = projection.unwrap_or_else(|| Arc::clone(&before.projection));
        if before.projection != projection || variables(&before.resolver) != variables(&resolver) {
            entry.render = self.take_render(projection, resolver, entry.per_subscription);
        }
        entry.recipe.context = context.unwrap_or_else(|| Arc::clone(&entry.recipe.context));
        entry.recipe.terms = terms.unwrap_or_else(|| Arc::clone(&entry.recipe.terms));
        let (member, render) = (entry.member, &entry.render);
        for ((channel, number), predicate) in entry.groups.iter_mut().zip(predicates) {
            let group = self.channels.get(channel).and_then(|here| here.groups.get(*number));
            if group.is_none_or(|group| group.predicate == predicate && group.render.serial == render.serial)
            {
                continue;
            }
            let Some(group) = self.leave(index, *channel, *number, member) else { continue };
            let key = GroupKey { predicate, render: render.serial, ..key(&group) };
            *number = self.join(index, *channel, key, render, member);
        }
        if before.serial != entry.render.serial {
            self.give_render(before.serial);
        }
    }

    /// Tells a reader that a subscription of it has ended.
    pub(crate) fn tell(&self, (reader, subscription): Key, end: End) {
        if let Some(link) = self.links.get(&reader) {
            link.end_one(subscription, end);
        }
    }

    /// The subscription called `id`, with its reader's number where ids are not unique: what its policies were made of,
    /// where its frames go, and what happens to them where there is no room.
    pub(crate) fn named(&self, id: &str, reader: Option<u64>) -> Option<(&Recipe, Member, Overflow)> {
        let is =
            |entry: &&Entry| &*entry.id == id && reader.is_none_or(|reader| entry.member.reader == reader);
        let entry = self.entries.values().find(is)?;
        let (channel, number) = entry.groups.first()?;
        let group = self.channels.get(channel)?.groups.get(*number)?;
        Some((&entry.recipe, entry.member, group.overflow.clone()))
    }

    /// Whether anybody here subscribes to `channel`.
    pub(crate) fn has(&self, channel: ChannelId) -> bool {
        self.channels.contains_key(&channel)
    }

    /// The ids of the subscriptions on `channel`.
    pub(crate) fn ids(&self, channel: ChannelId) -> impl Iterator<Item = &Arc<str>> {
        let groups = self.channels.get(&channel).into_iter().flat_map(|channel| channel.groups.iter());
        let members = groups.flat_map(|group| group.members.chunks().flatten());
        members.filter_map(|member| Some(&self.entries.get(&(member.reader, member.subscription))?.id))
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
