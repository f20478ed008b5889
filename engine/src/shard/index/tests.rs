//! The index against the plain words of what it does: every group is asked.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::*;
use crate::{
    cursor::{Epoch, History},
    event::Event,
    id::{Identity, Offset},
    limits::Limits,
    overflow::Overflow,
    plan::{OperationName, Plan},
    policy::{
        Budget, Constant, Part, Policy, Predicate,
        standard::{Isolation, Tenancy},
    },
    security::SecurityContext,
    shard::{
        Member,
        group::{Group, Members},
        render::Render,
    },
    value::Value,
};

const NAMES: [&str; 4] = ["", "a", "b", "c"];

fn render() -> Arc<Render> {
    let limits = Limits::default();
    let plan = Plan::compile("subscription { x }", &OperationName::Only, None, &limits).unwrap();
    let projection = plan.bind(&Value::Null, &limits).unwrap().projection;
    Arc::new(Render { serial: 1, cell: 0, projection, resolver: None })
}

/// Policies of many shapes: keys that must be there, that may be absent, that have several values, that come beside
/// what is no key, and none.
static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let strict = Isolation { tenancy: Tenancy::Strict, ..Isolation::default() };
    let ownerless = Isolation { owner: None, ..Isolation::default() };
    let isolations = [Isolation::default(), strict, ownerless];
    let texts = [
        "!has(event.user_id) || (event.user_id == ctx.user_id && event.tenant_id == ctx.tenant_id)",
        "event.room == vars.room",
        "event.room in vars.rooms && event.level > 1",
        "!has(event.room) || event.room == vars.room",
        "!has(event.room) || event.room in vars.rooms",
        "event.level >= 1.5 && vars.room == event.room && event.tenant_id == ctx.tenant_id",
        "ctx.user_id == 'a' || event.room == vars.room",
        "event.user_id == '7' || event['room'] == vars.room",
        "event.user_id == vars.room && (has(event.level) ? event.level == 1 : true)",
    ];
    let compile = |parts: &[Part<'_>]| Policy::new(parts, Budget::default()).unwrap();
    let isolations = isolations.iter().map(|rules| compile(&[Part::Isolation(rules)]));
    isolations.chain(texts.iter().map(|text| compile(&[Part::Text(text)]))).collect()
});

fn predicate(shape: u8, tenant: usize, user: usize) -> Predicate {
    let [tenant, user] = [(tenant, user), (user, tenant)].map(|(name, _)| Identity::new(NAMES[name]));
    let room = match user.as_ref().map(Identity::as_str) {
        None => Constant::Null,
        Some("a") => Constant::Int(1),
        Some("b") => Constant::Double(1.5),
        Some(other) => other.into(),
    };
    let rooms = Constant::List([room.clone(), Constant::Uint(7), "b".into(), "b".into()].into());
    let variables = Constant::Map([("room".into(), room), ("rooms".into(), rooms)].into());
    let context = SecurityContext::new(user, tenant).constant();
    POLICIES[usize::from(shape)].specialise(&context, &Constant::Null, &variables).unwrap()
}

fn event(kind: usize, tenant: usize, user: usize) -> Stamped {
    let document = match (tenant, user) {
        // Attributes are not everything: some events bring it in the document, some bring what is no identity.
        (1, 3) => r#"{"tenant_id":"b","user_id":7,"room":1.0,"level":2}"#,
        (2, 3) => r#"{"tenant_id":{},"user_id":"a","room":null,"level":1}"#,
        (3, 3) => r#"{"tenant_id":"a","user_id":"7","room":"b","level":"2"}"#,
        (1, 0) => r#"{"room":[1],"level":1.5}"#,
        (2, 0) => r#"{"room":7,"level":3}"#,
        (3, 0) => r#"{"room":1.5,"level":18446744073709551615}"#,
        (1, _) => r#"{"room":"c"}"#,
        (2, 2) => "null",
        _ => "{}",
    };
    // What was before, where it is known: of a change, and of a deletion.
    let before = match (tenant, user) {
        (1, 3) | (2, 2) => Some(r#"{"tenant_id":"c","user_id":"c","room":"c"}"#),
        (3, 0) => Some(r#"{"room":"b","level":2}"#),
        _ => None,
    };
    let names = |name: usize| if document.contains("tenant") { None } else { Identity::new(NAMES[name]) };
    let (tenant, user) = (names(tenant), names(user));
    let event = Event::new(NAMES[kind], "c", document.into(), &Limits::default()).unwrap();
    let event = match before {
        Some(before) => event.with_before(before.into(), &Limits::default()).unwrap(),
        None => event,
    };
    let history = History { epoch: Epoch(1), carried: false };
    Stamped {
        event: event.with_tenant(tenant).with_user(user),
        channel: ChannelId(1),
        offset: Offset(1),
        history,
    }
}

proptest! {
    #[test]
    fn finds_what_asking_every_group_finds(
        ops in prop::collection::vec((0..12u8, 0..4usize, 0..4usize, 0..3usize, 0..4usize), 1..150),
    ) {
        let render = render();
        let (mut groups, mut model) = (Groups::default(), Vec::<Option<Arc<Group>>>::new());
        for (shape, tenant, user, kind, members) in ops {
            let number = (tenant * 4 + user) * 24 + usize::from(shape) * 2 + kind.min(1);
            model.resize(model.len().max(number + 1), None);
            while (groups.next_number() as usize) < model.len() {
                groups.by_number.push(None);
            }
            let known = model[number].clone();
            match (members, known) {
                (0, Some(_)) => {
                    groups.remove(number as u32);
                    model[number] = None;
                }
                (0, None) => {}
                (_, known) => {
                    let member = |lane| Member { reader: 1, slot: 0, subscription: 1, lane, resumed: false, limited: false };
                    let first = Members::One(member(0));
                    let list = (1..members as u16).fold(first, |list, lane| list.and(member(lane)));
                    let events: Arc<[Box<str>]> = if kind == 0 { Arc::new([]) } else { Arc::new([NAMES[1].into()]) };
                    let group = known.map_or_else(
                        || Group {
                            predicate: predicate(shape, tenant, user),
                            events,
                            render: Arc::clone(&render),
                            overflow: Overflow::default(),
                            members: list.clone(),
                        },
                        |group| group.with(list.clone()),
                    );
                    let group = Arc::new(group);
                    groups.put(number as u32, Arc::clone(&group));
                    model[number] = Some(group);
                }
            }
        }
        let mut index = Index::default();
        index.set(ChannelId(1), Arc::new(groups.clone()));
        for (kind, tenant, user) in (1..3).flat_map(|k| (0..4).flat_map(move |t| (0..4).map(move |u| (k, t, u)))) {
            let event = event(kind, tenant, user);
            let mut found = Vec::new();
            let members = index.matching(&event, &mut Judge::default(), |group, image| {
                found.push((Arc::as_ptr(group), image));
            });
            let here = model.iter().flatten().filter(|group| group.wants(event.event.event_type()));
            prop_assert_eq!(members, here.clone().map(|group| group.members.len() as u64).sum::<u64>());
            let mut wanted: Vec<_> =
                here.filter_map(|group| Some((Arc::as_ptr(group), Image::admitted(&group.predicate, &event.event)?))).collect();
            found.sort_unstable_by_key(|(group, _)| *group);
            wanted.sort_unstable_by_key(|(group, _)| *group);
            prop_assert_eq!(found, wanted);
        }
        for number in 0..model.len() {
            groups.remove(number as u32);
        }
        prop_assert!(groups.is_empty() && groups.iter().next().is_none());
    }
}
